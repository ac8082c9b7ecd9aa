import assert from 'node:assert/strict';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startBarePipeline } from '../../bench/bare/bare-pipeline.js';
import { barePlans } from '../../bench/bare/bare-plans.js';
import { readConfig } from '../../src/config.js';
import { quarters } from '../images/drawn.js';
import { defaultBundle, readDefaultManifest } from '../inference/default-bundle.js';

const model = { id: 'any', version: '1', provider: 'cpu', precision: 'w8' };

test('the plan of the service comes first, and every plan shares the photos among its processes', async () => {
  const config = readConfig({ MODEL_PATH: defaultBundle, WORKERS: '3', THREADS: '6' });
  const photos = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const plans = await barePlans(config, model, photos);
  assert.equal(plans[0]?.name, '3 processes × 2 threads');
  assert.deepEqual(
    plans.map(({ isForSingles }) => isForSingles),
    plans.map((_, index) => index === 0),
  );
  for (const { commands } of plans)
    assert.deepEqual(commands.flatMap((command) => command.photos).toSorted(), photos);
});

test('decoding and the four graphs run on the embedded bundle', async () => {
  const { decoding } = await readDefaultManifest();
  const folder = await mkdtemp(join(tmpdir(), 'pcm-caption-bench-test-'));
  const photo = join(folder, 'photo.jpg');
  await writeFile(photo, await quarters().jpeg().toBuffer());
  const config = readConfig({ MODEL_PATH: defaultBundle, WORKERS: '1', THREADS: '1' });
  const [plan] = await barePlans(config, model, [photo]);
  const [command] = plan?.commands ?? [];
  assert.ok(command !== undefined);
  assert.equal(command.options.maxLength, decoding.maxLength);

  const pipeline = await startBarePipeline([{ ...command, command: { ...command.command, maxBatch: 2 } }]);
  const batches = await pipeline.runBatches(2, 1);
  assert.ok(batches.imagesPerSecond > 0);
  assert.ok(batches.timings.length >= 2);
  const singles = await pipeline.runSingles(1);
  for (const timing of [...batches.timings, ...singles]) {
    for (const ms of Object.values(timing)) assert.ok(ms > 0);
  }
  await pipeline.stop();
});

test('a bare process that cannot load its bundle ends the measurement', async () => {
  const config = readConfig({ MODEL_PATH: defaultBundle, WORKERS: '1', THREADS: '1' });
  const [plan] = await barePlans(config, { ...model, precision: 'none' }, []);
  assert.ok(plan !== undefined);
  await assert.rejects(startBarePipeline(plan.commands), /ended early/);
});
