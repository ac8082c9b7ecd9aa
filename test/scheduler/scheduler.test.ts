import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Registry } from 'prom-client';
import { ServiceError } from '../../src/errors.js';
import { loadPipeline } from '../../src/inference/load-pipeline.js';
import { findRuntimeFolder } from '../../src/inference/providers.js';
import { type SchedulerSettings, startScheduler } from '../../src/scheduler/start-scheduler.js';
import type { EngineLogger } from '../../src/scheduler/worker-process.js';
import { defaultBundle, itemOf, loadCommand } from '../inference/default-bundle.js';
import { photoPixels } from '../inference/photos.js';
import { admit } from './test-engine.js';

const silent = (): void => undefined;
const logger: EngineLogger = { debug: silent, info: silent, warn: silent, error: silent };
const settings: SchedulerSettings = {
  modelPath: defaultBundle,
  provider: 'auto',
  devices: [],
  precision: 'auto',
  workers: 1,
  threads: 'auto',
  maxBatchSize: 4,
  batchDelayMs: 0,
  maxQueueImages: 64,
  shutdownGraceMs: 30_000,
};

/** The embedded bundle with the last byte of one file changed. */
async function changedBundle(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pcm-caption-changed-'));
  await cp(defaultBundle, folder, { recursive: true });
  const bytes = await readFile(join(folder, name));
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
  await writeFile(join(folder, name), bytes);
  return folder;
}

describe('the scheduler over the embedded bundle', () => {
  it('gives every image its own caption though one crashes the model and a process is killed', async (t) => {
    process.env['PCM_CAPTION_TEST_FAULTS'] = '1';
    t.after(() => delete process.env['PCM_CAPTION_TEST_FAULTS']);
    const scheduler = await startScheduler(settings, logger, new Registry());
    t.after(() => scheduler.drain());
    const { bundle, precision } = scheduler.model;
    assert.equal(bundle.conceptWords.length > bundle.concepts.k, true);

    const photos = await photoPixels(12, bundle.image);
    const poison = Uint8Array.from(
      { length: photos[0]?.length ?? 0 },
      (_, index) => [1, 254, 13][index % 3] ?? 0,
    );
    const images = [...photos.slice(0, 5), poison, ...photos.slice(5)];
    const upload = admit(scheduler, images.length, { timeoutMs: 600_000 });
    const ends = await Promise.allSettled(images.map((pixels) => upload.run(itemOf(pixels, bundle))));

    const { captionBatch } = await loadPipeline(loadCommand(precision));
    for (const [index, end] of ends.entries()) {
      const pixels = images[index];
      assert.ok(pixels);
      if (pixels === poison) {
        assert.ok(end.status === 'rejected' && end.reason instanceof ServiceError);
        assert.equal(end.reason.code, 'image_crashes_model');
        continue;
      }
      assert.ok(end.status === 'fulfilled', `image ${index}`);
      const [alone] = await captionBatch([itemOf(pixels, bundle)]);
      assert.ok(alone?.ok);
      assert.equal(end.value.outcome.candidates[0]?.text, alone.outcome.candidates[0]?.text);
      assert.ok(end.value.queueMs >= 0);
    }
    assert.deepEqual(scheduler.readiness, { ready: true });
  });

  for (const name of ['vocabulary.txt', 'decoder.w8.onnx', 'bundle.json']) {
    it(`does not start when ${name} was changed, and names it`, async () => {
      const modelPath = await changedBundle(name);
      await assert.rejects(
        startScheduler({ ...settings, modelPath }, logger, new Registry()),
        (error: Error) => error.message.includes(name),
      );
    });
  }

  it('does not start with a named provider that lacks its GPU or library, and says so', async () => {
    // The provider's library is not part of the npm package; whoever has installed it does not lack it.
    const name = 'libonnxruntime_providers_tensorrt.so';
    assert.equal(existsSync(join(findRuntimeFolder(), name)), false, `${name} is installed`);
    await assert.rejects(
      startScheduler({ ...settings, provider: 'tensorrt' }, logger, new Registry()),
      (error) => {
        assert.ok(error instanceof Error);
        assert.match(error.message, /tensorrt does not run here/);
        if (process.platform !== 'linux') return true;
        const lack = existsSync('/dev/nvidiactl') ? `${name} (in ${findRuntimeFolder()})` : 'no NVIDIA GPU';
        assert.ok(error.message.includes(lack), error.message);
        return true;
      },
    );
  });
});
