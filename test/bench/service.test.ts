import assert from 'node:assert/strict';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import sharp from 'sharp';
import { createCaptionClient } from '../../bench/service/caption-client.js';
import { runClosedLoop } from '../../bench/service/closed-loop.js';
import { runOpenLoop } from '../../bench/service/open-loop.js';
import { buildVersion } from '../../bench/service/other-version.js';
import { servedModel } from '../../bench/service/served-model.js';
import { measureService } from '../../bench/service/service-window.js';
import { startService } from '../http/service.js';

const instantly = { windowMs: 1 };

test('as many requests are in flight as places, and those of the start are not counted', async () => {
  let inFlight = 0;
  let most = 0;
  let calls = 0;
  const client = async () => {
    calls += 1;
    most = Math.max(most, ++inFlight);
    await new Promise(setImmediate);
    inFlight -= 1;
    return { status: 200, latencyMs: 50 };
  };
  const { answers, imagesPerSecond } = await runClosedLoop({ client, concurrency: 4, ...instantly });
  assert.equal(most, 4);
  assert.equal(inFlight, 0);
  assert.ok(answers.length >= 4 && answers.length <= calls - 4);
  // Four places that each get an answer every 50 ms.
  assert.equal(imagesPerSecond, 80);
});

test('a client that fails ends the load', async () => {
  const client = () => Promise.reject(new Error('connection refused'));
  await assert.rejects(runClosedLoop({ client, concurrency: 4, ...instantly }), /connection refused/);
});

test('an open loop sends at its rate, whether answers come or not, and counts the captions of its window', async () => {
  const held: (() => void)[] = [];
  let calls = 0;
  const client = async () => {
    calls += 1;
    if (calls % 2 === 0) return { status: 503, latencyMs: 1, code: 'queue_full' };
    await new Promise<void>((resolve) => held.push(resolve));
    return { status: 200, latencyMs: 100 };
  };
  const { answers, sentPerSecond, completedPerSecond } = await runOpenLoop({
    client,
    perSecond: 1000,
    leadMs: 20,
    windowMs: 100,
    onOpen: () => {
      for (const answer of held.splice(0)) answer(); // answered while it counts
      return Promise.resolve();
    },
    onClose: () => {
      for (const answer of held.splice(0)) answer(); // answered after it
      return Promise.resolve();
    },
  });
  assert.equal(answers.length, calls);
  assert.ok(completedPerSecond > 0 && completedPerSecond < sentPerSecond / 2);
});

test('an open loop ends with the error of its client', async () => {
  const client = () => Promise.reject(new Error('connection refused'));
  const load = runOpenLoop({ client, perSecond: 1000, leadMs: 0, windowMs: 60_000 });
  await assert.rejects(load, /connection refused/);
});

test('a version that git does not know is named', async () => {
  await assert.rejects(buildVersion('no-such-commit'), /git knows no commit no-such-commit/);
});

test('the service is measured with distinct photos', async (t) => {
  const { url, scheduler } = await startService(t);
  const client = await createCaptionClient(url, await drawnPhotos('red', 'green', 'blue'));
  const window = await measureService({ url, pid: process.pid }, client, 2, instantly.windowMs);
  assert.equal(window.latenciesMs.length, window.timings.length);
  assert.ok(window.timings.length >= 2);
  assert.ok(window.timings.every(({ captionMs, queueMs }) => captionMs === 3 && queueMs === 1.25));
  assert.ok(window.imagesPerSecond > 0);
  assert.ok(window.eventLoopDelayMs !== undefined && window.eventLoopDelayMs > 0);
  if (process.platform === 'linux') assert.ok((window.memoryBytes ?? 0) > 10 * 1024 ** 2);
  const seen = new Set(scheduler.captionItems.map(({ pixels }) => Buffer.from(pixels).toString('hex')));
  assert.equal(seen.size, 3);
  const { provider, precision } = await servedModel(url);
  assert.deepEqual({ provider, precision }, { provider: 'cpu', precision: 'w8' });
});

test('a service that refuses is not measured', async (t) => {
  const { url } = await startService(t, { MAX_BODY_BYTES: '1024' });
  const file = join(await photoFolder(), 'large.jpg');
  await writeFile(file, Buffer.alloc(5000));
  const client = await createCaptionClient(url, [file]);
  await assert.rejects(
    measureService({ url, pid: process.pid }, client, 1, instantly.windowMs),
    /answered 413/,
  );
});

async function photoFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'pcm-caption-bench-test-'));
}

/** Each of a colour of its own. */
async function drawnPhotos(...colours: readonly string[]): Promise<string[]> {
  const folder = await photoFolder();
  const photos = colours.map(async (background) => {
    const file = join(folder, `${background}.jpg`);
    const create = { width: 64, height: 48, channels: 3, background } as const;
    await writeFile(file, await sharp({ create }).jpeg().toBuffer());
    return file;
  });
  return Promise.all(photos);
}
