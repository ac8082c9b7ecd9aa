/**
 * Entry of a process of the bare pipeline: the service's own image decoder and the four graphs, with no HTTP, no
 * queue and no other process between them.
 */
import { readFile } from 'node:fs/promises';
import pLimit from 'p-limit';
import { decodeImage } from '../src/images/decode.js';
import { type LoadedPipeline, loadPipeline, warmUp } from '../src/inference/load-pipeline.js';
import type { CaptionOutcome } from '../src/inference/messages.js';
import {
  type BareLoadCommand,
  type BareTiming,
  isMessageToBare,
  type MessageFromBare,
} from './bare/messages.js';
import { mean } from './measure/statistics.js';

interface Decoded {
  readonly pixels: Uint8Array;
  readonly decodeMs: number;
}

interface Bare {
  /** Decodes the next photos side by side. */
  readonly decodeNext: (count: number) => Promise<Decoded[]>;
  readonly caption: (images: readonly Decoded[]) => Promise<CaptionOutcome[]>;
}

/** Batches that are counted at least, however long each takes. */
const fewestBatches = 2;

let bare: Bare | undefined;
let stopping = new AbortController();

function send(message: MessageFromBare): void {
  process.send?.(message);
}

async function load({ command, options, limits, decoders, photos }: BareLoadCommand): Promise<Bare> {
  const pipeline: LoadedPipeline = await loadPipeline(command);
  await warmUp(pipeline, command.maxBatch);
  const files: Buffer[] = [];
  for (const photo of photos) files.push(await readFile(photo));
  const limit = pLimit(decoders);
  let next = 0;

  async function decode(): Promise<Decoded> {
    const file = files[next++ % files.length] ?? Buffer.alloc(0);
    return limit(async () => {
      const started = performance.now();
      const { pixels } = await decodeImage(file, pipeline.manifest.image, limits);
      return { pixels, decodeMs: performance.now() - started };
    });
  }
  return {
    decodeNext: (count) => Promise.all(Array.from({ length: count }, decode)),
    async caption(images) {
      const answers = await pipeline.captionBatch(
        images.map(({ pixels }) => ({ kind: 'caption', pixels, options })),
      );
      return answers.map((answer) => {
        if (!answer.ok) throw new Error(answer.message);
        return answer.outcome;
      });
    },
  };
}

/** Rate of whole batches, from the end of one to the end of another: the first only fills the pipeline. */
async function runBatches({ decodeNext, caption }: Bare, batchSize: number, leastMs: number): Promise<void> {
  stopping = new AbortController();
  const timings: BareTiming[] = [];
  let hasToldEnough = false;
  let decoding = decodeNext(batchSize);
  let from: number | undefined;
  let until = 0;
  while (!stopping.signal.aborted) {
    const images = await decoding;
    decoding = decodeNext(batchSize);
    const outcomes = await caption(images);
    if (from === undefined) {
      from = performance.now();
      continue;
    }
    until = performance.now();
    timings.push(timingOf(images, outcomes));
    if (!hasToldEnough && until - from >= leastMs && timings.length >= fewestBatches) {
      hasToldEnough = true;
      send({ type: 'enough' });
    }
  }
  await decoding;
  const imagesPerSecond = (1000 * batchSize * timings.length) / (until - (from ?? until));
  send({ type: 'batches', imagesPerSecond, timings });
}

/** One image after the other, nothing at the same time; the first is left out. */
async function runSingles({ decodeNext, caption }: Bare, leastMs: number): Promise<void> {
  const timings: BareTiming[] = [];
  const started = performance.now();
  for (let image = 0; image <= fewestBatches || performance.now() - started < leastMs; image += 1) {
    const images = await decodeNext(1);
    const outcomes = await caption(images);
    if (image > 0) timings.push(timingOf(images, outcomes));
  }
  send({ type: 'singles', timings });
}

/** Stages of a batch are the same for all its images; decoding is the mean of them. */
function timingOf(images: readonly Decoded[], [first]: readonly CaptionOutcome[]): BareTiming {
  if (first === undefined) throw new Error('a batch has no image');
  return { decodeMs: mean(images.map(({ decodeMs }) => decodeMs)), ...first.timing };
}

function loaded(): Bare {
  if (bare === undefined) throw new Error('a command came before the bundle was loaded');
  return bare;
}

process.on('message', (message: unknown) => {
  if (!isMessageToBare(message)) throw new Error('a message of an unknown kind');
  switch (message.type) {
    case 'load':
      void load(message).then((made) => {
        bare = made;
        send({ type: 'loaded' });
      });
      break;
    case 'batches':
      void runBatches(loaded(), message.batchSize, message.leastMs);
      break;
    case 'stop':
      stopping.abort();
      break;
    case 'singles':
      void runSingles(loaded(), message.leastMs);
  }
});
process.on('disconnect', () => process.exit());
