/**
 * An inference process without a model, for tests of the processes around it. An image's first byte says what happens
 * to it, its second and third are its number; its caption tells the number, the process that wrote it and what was asked, and
 * `encodeMs` is the size of its batch.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createBatchLoop } from '../../src/inference/batch-loop.js';
import {
  isMessageToWorker,
  type ItemAnswer,
  type LoadCommand,
  type MessageFromWorker,
  type WorkItem,
} from '../../src/inference/messages.js';
import { fates, type StartFate } from './fates.js';

/** SIGUSR2 releases the images that are held, and those that come later: a signal may overtake a message. */
const released = once(process, 'SIGUSR2');
process.on('disconnect', () => process.exit());

function send(message: MessageFromWorker): void {
  process.send?.(message, undefined, undefined, (error) => {
    if (error !== null) process.exit();
  });
}

const starts: Record<StartFate, () => void> = {
  warm: () => {
    const placement = { encoder: 'cpu', mixup: 'cpu', decoder: 'cpu', textEncoder: 'cpu' };
    send({ type: 'ready', warmUpMs: { single: 1, largest: 10 }, placement });
  },
  refuse: () => {
    send({ type: 'refused', message: 'the bundle is of cheese' });
    process.disconnect();
  },
  crash: () => process.exit(3),
  never: () => undefined,
};

/** The bundle's path is that of a file that says what happens at the start. */
function load({ bundlePath, heartbeatMs }: LoadCommand): void {
  setInterval(send, heartbeatMs, { type: 'heartbeat' });
  const fate = readFileSync(bundlePath, 'utf8');
  for (const [name, start] of Object.entries(starts)) if (name === fate) start();
}

async function answer(item: WorkItem, batchSize: number): Promise<ItemAnswer> {
  const pixels = 'pixels' in item ? item.pixels : new Uint8Array();
  switch (pixels[0] ?? fates.caption) {
    case fates.crash:
      process.kill(process.pid, 'SIGKILL');
      break;
    case fates.hang:
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      break;
    case fates.fail:
      return { ok: false, code: 'internal', message: 'a graph failed' };
    case fates.hold:
      await released;
      break;
    default:
  }
  if (item.kind === 'score') {
    const scores = item.texts.map(() => ({
      cosine: (pixels[1] ?? 0) / 100,
      clipScore: 0,
      isTruncated: false,
    }));
    return { ok: true, outcome: { scores, timing: { encodeMs: batchSize, scoreMs: 1 } } };
  }
  if (item.kind !== 'caption') {
    const embeddings = [Float32Array.of(1)];
    return { ok: true, outcome: { embeddings, timing: { encodeMs: batchSize, scoreMs: 1 } } };
  }
  const { candidates, beamSize, maxLength, avoidWords, genderNeutral } = item.options;
  const asked = [candidates, beamSize, maxLength, avoidWords.join('+'), genderNeutral].join('/');
  const text = `${numberOf(pixels)} by ${process.pid} asked ${asked}`;
  const timing = { encodeMs: batchSize, mixupMs: 1, captionMs: 1, scoreMs: 1 };
  const candidate = { text, confidence: 0.5, clipScore: 1, logProb: -1, meanLogProb: -1 };
  return { ok: true, outcome: { candidates: [candidate], concepts: [], timing } };
}

/** The second byte, and the third of those that have more. */
function numberOf([, low = 0, high = 0]: Uint8Array): number {
  return low + 256 * high;
}

const batches = createBatchLoop(
  (items) => Promise.all(items.map((item) => answer(item, items.length))),
  send,
);

process.on('message', (message: unknown) => {
  if (!isMessageToWorker(message)) throw new Error('a message of an unknown kind');
  if (message.type === 'load') load(message);
  else if (message.type === 'batch') batches.add(message);
  else batches.drop(message);
});
