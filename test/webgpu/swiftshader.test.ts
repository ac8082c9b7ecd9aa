/**
 * The WebGPU provider through SwiftShader, a Vulkan driver that computes on the CPU: slow, but the same kernels as on a
 * GPU. Run by `npm run test:webgpu`, which finds the driver.
 */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { chooseProvider } from '../../src/scheduler/choose-provider.js';
import { type EngineLogger, startWorker } from '../../src/scheduler/worker-process.js';
import type { BundleManifest } from '../../src/inference/manifest.js';
import { type LoadedPipeline, loadPipeline } from '../../src/inference/load-pipeline.js';
import type { CaptionOutcome } from '../../src/inference/messages.js';
import { itemOf, loadCommand, readDefaultManifest } from '../inference/default-bundle.js';
import { photoPixels } from '../inference/photos.js';

const photoCount = 8;
/** SwiftShader's arithmetic is float32; sums are taken in another order than on the CPU. */
const tolerance = 1e-3;

const silent = (): void => undefined;
const timings = { startTimeoutMs: 120_000, hangTimeoutMs: 60_000, stopTimeoutMs: 2_000 };

async function captions({ captionBatch, manifest }: LoadedPipeline, photos: readonly Uint8Array[]) {
  const answers = await captionBatch(photos.map((pixels) => itemOf(pixels, manifest)));
  return answers.map((answer): CaptionOutcome => {
    assert.ok(answer.ok, JSON.stringify(answer));
    return answer.outcome;
  });
}

function assertSame(actual: readonly CaptionOutcome[], expected: readonly CaptionOutcome[]): void {
  for (const [photo, { candidates, concepts }] of actual.entries()) {
    const wanted = expected[photo];
    assert.ok(wanted);
    assert.deepEqual(
      candidates.map(({ text }) => text),
      wanted.candidates.map(({ text }) => text),
    );
    assert.deepEqual(
      concepts.map(({ word }) => word),
      wanted.concepts.map(({ word }) => word),
    );
    for (const [rank, { logProb, clipScore, confidence }] of candidates.entries()) {
      const other = wanted.candidates[rank];
      assert.ok(other);
      assert.ok(Math.abs(logProb - other.logProb) < tolerance, `${logProb} and ${other.logProb}`);
      assert.ok(Math.abs(clipScore - other.clipScore) < tolerance, `${clipScore} and ${other.clipScore}`);
      assert.ok(Math.abs(confidence - other.confidence) < tolerance, `${confidence} and ${other.confidence}`);
    }
  }
}

describe('the WebGPU provider through SwiftShader', () => {
  let manifest: BundleManifest;
  let photos: Uint8Array[];
  let onCpu: CaptionOutcome[];

  before(async () => {
    manifest = await readDefaultManifest();
    photos = await photoPixels(photoCount, manifest.image);
    onCpu = await captions(await loadPipeline(loadCommand('w8')), photos);
  });

  it('gives the captions of the CPU on the same graphs, with the decoder on either', async () => {
    const pipeline = await loadPipeline({ ...loadCommand('w8'), provider: 'webgpu' });
    // All four graphs answer from WebGPU until the faster provider of the decoder is known.
    assert.equal(pipeline.isSettled, false);
    assertSame(await captions(pipeline, photos), onCpu);
    assert.deepEqual(await pipeline.settle(), {
      encoder: 'webgpu',
      mixup: 'webgpu',
      decoder: 'cpu',
      textEncoder: 'webgpu',
    });
    assertSame(await captions(pipeline, photos.slice(0, 1)), onCpu.slice(0, 1));
  });

  it('is not taken by auto, which names it', async () => {
    const log: string[] = [];
    const write = (...line: unknown[]): void => void log.push(String(line.at(-1)));
    const logger: EngineLogger = { debug: silent, info: write, warn: silent, error: silent };
    const entry = new URL('../../src/inference/worker.js', import.meta.url);
    const chosen = await chooseProvider({
      provider: 'auto',
      devices: [],
      manifest,
      maxBatch: 1,
      // As on a machine whose GPU is not the one that Vulkan offers.
      lackOf: (provider) => (provider === 'webgpu' ? undefined : 'it is not asked for'),
      processesOf: () => 1,
      async probe(choice) {
        const command = { ...loadCommand(choice.precision), ...choice, gpuOnly: true, maxBatch: 1 };
        const worker = startWorker(entry, command, timings, logger);
        try {
          return await worker.ready;
        } finally {
          await worker.stop();
        }
      },
      logger,
    });
    assert.equal(chosen.provider, 'cpu');
    assert.ok(
      log.some((line) => /webgpu is not taken: .*libvk_swiftshader\.so computes on the CPU/.test(line)),
      log.join('\n'),
    );
  });
});
