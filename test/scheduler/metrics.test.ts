import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { createEngineMetrics } from '../../src/scheduler/metrics.js';
import { ResultCache } from '../../src/scheduler/result-cache.js';

test('whatever is counted by a label begins at 0, so that the first event is an increase', async () => {
  const registry = new Registry();
  const none = (): number => 0;
  createEngineMetrics(registry, {
    waiting: none,
    slotsUsed: none,
    workersReady: none,
    model: () => undefined,
  });
  new ResultCache({ maxSize: 1, sizeOf: () => 1, onLeave: () => undefined, registry });
  const counted = Object.fromEntries(
    (await registry.getMetricsAsJSON())
      .filter(({ type }) => String(type) === 'counter')
      .map(({ name, values }) => [
        name,
        values.map(({ value, labels }) => `${Object.values(labels).join()} ${value}`),
      ]),
  );
  assert.deepEqual(counted, {
    pcm_caption_dropped_images_total: [
      'queue_full 0',
      'not_ready 0',
      'draining 0',
      'deadline 0',
      'gone 0',
      'crash 0',
    ],
    pcm_caption_worker_restarts_total: ['crash 0', 'hang 0', 'start 0'],
    pcm_caption_model_reloads_total: ['swapped 0', 'failed 0'],
    pcm_caption_cache_requests_total: ['hit 0', 'coalesced 0', 'miss 0'],
  });
});
