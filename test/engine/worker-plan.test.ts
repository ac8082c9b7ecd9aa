import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usableMemory } from '../../src/engine/memory-limit.js';
import {
  planLoneWorker,
  planWorkers,
  workersInMemory,
  type WorkerPlanSettings,
} from '../../src/engine/worker-plan.js';
import { readManifestFile } from '../../src/runtime/bundle.js';
import { defaultBundle } from '../runtime/default-bundle.js';
import { exampleManifest } from '../runtime/example-bundle.js';

const auto: WorkerPlanSettings = {
  provider: 'cpu',
  devices: [],
  workers: 'auto',
  threads: 'auto',
  workersInMemory: 100,
};
const threadsOf = (settings: WorkerPlanSettings, cores: number): number[] =>
  planWorkers(settings, cores).map(({ threads }) => threads);

describe('the plan of workers', () => {
  it('gives each core a process of its own by default, and as many as memory has room for', () => {
    assert.deepEqual(threadsOf(auto, 1), [1]);
    assert.deepEqual(threadsOf(auto, 4), [1, 1, 1, 1]);
    assert.deepEqual(threadsOf(auto, 20), [3, 3, 3, 3, 2, 2, 2, 2]);
    assert.deepEqual(threadsOf({ ...auto, workersInMemory: 2 }, 4), [2, 2]);
    assert.deepEqual(threadsOf({ ...auto, workersInMemory: 0 }, 4), [4]);
    assert.deepEqual(threadsOf({ ...auto, threads: 2 }, 4), [1, 1]);
  });

  it('divides the threads among the processes that were asked for, whatever the memory', () => {
    assert.deepEqual(threadsOf({ ...auto, workers: 3, threads: 8, workersInMemory: 1 }, 4), [3, 3, 2]);
    assert.deepEqual(threadsOf({ ...auto, workers: 4 }, 2), [1, 1, 1, 1]);
  });

  it('has one process for each device of other providers', () => {
    const plan = planWorkers({ ...auto, provider: 'cuda', devices: ['0', '2'], workers: 7 }, 8);
    assert.deepEqual(
      plan.map(({ device }) => device),
      [0, 2],
    );
    assert.equal(planWorkers({ ...auto, provider: 'cuda' }, 8).length, 1);
  });

  it('adds one with all cores for images that come alone, where it is of use and memory has room', () => {
    assert.deepEqual(planLoneWorker(auto, 4), { device: 0, threads: 4 });
    assert.equal(planLoneWorker(auto, 1), undefined);
    assert.equal(planLoneWorker({ ...auto, workersInMemory: 4 }, 4), undefined);
    assert.equal(planLoneWorker({ ...auto, workers: 2 }, 4), undefined);
    assert.equal(planLoneWorker({ ...auto, provider: 'cuda', devices: ['0', '1'] }, 4), undefined);
  });

  it('knows what a process takes from the weights, however they are stored', () => {
    const files = Object.fromEntries(
      ['encoder.w8.onnx', 'mixup.w8.onnx', 'decoder.w8.onnx', 'text.onnx'].map((name) => [
        name,
        { bytes: 10_000_000, sha256: '' },
      ]),
    );
    const manifest = { ...exampleManifest, files };
    const gibibytes = (count: number): number => count * 1024 ** 3;
    assert.equal(workersInMemory(manifest, 'w8', gibibytes(2)), 3);
    assert.ok(workersInMemory(manifest, 'w8', gibibytes(0.25)) <= 0);
    const { w8 } = manifest.precisions;
    assert.ok(w8 !== undefined);
    const stored = (precision: string): number =>
      workersInMemory({ ...manifest, precisions: { [precision]: w8 } }, precision, gibibytes(2));
    assert.deepEqual(['fp32', 'fp16', 'int8'].map(stored), [13, 6, 5]);
  });

  it('has two processes of the embedded bundle in 1.5 GiB, one in 1 GiB, and one for lone images in 2 GiB', async () => {
    const manifest = await readManifestFile(defaultBundle);
    const plan = (gibibytes: number): [number, number | undefined] => {
      const settings = { ...auto, workersInMemory: workersInMemory(manifest, 'int8', gibibytes * 1024 ** 3) };
      return [planWorkers(settings, 2).length, planLoneWorker(settings, 2)?.threads];
    };
    assert.deepEqual([1, 1.5, 2].map(plan), [
      [1, undefined],
      [2, undefined],
      [2, 2],
    ]);
  });

  it('minds the limit of a container', () => {
    assert.equal(usableMemory(1000, 200), 200);
    assert.equal(usableMemory(1000, 2 ** 64), 1000);
    assert.equal(usableMemory(1000, 0), 1000);
    assert.ok(usableMemory() > 0);
  });
});
