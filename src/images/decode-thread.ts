import { parentPort } from 'node:worker_threads';
import { ServiceError } from '../problem.js';
import { collectGarbage } from './collect-garbage.js';
import { decodeImage } from './decode.js';
import type { DecodeOrder, DecodeOutcome, RoomRequest } from './decode-aside.js';

/** What a thread of `decodeAside` runs: one image after the other. */
if (parentPort === null) throw new Error('this file is the entry of a worker thread');
const port = parentPort;

function send(outcome: DecodeOutcome, transferred: ArrayBuffer[] = []): void {
  port.postMessage(outcome, transferred);
}

/** Pixels whose memory, three bytes each, is not left to V8, which would keep it for as long as this thread has nothing to do. */
const large = 13_000_000;
/** Images after which the same is done with what smaller ones have left. */
const imagesPerCollection = 480;
let images = 0;

/** What ends the wait for room. */
let goAhead: (() => void) | undefined;

function whenRoom(pixels: number): Promise<void> {
  const request: RoomRequest = { pixels };
  port.postMessage(request);
  return new Promise((resolve) => {
    goAhead = resolve;
  });
}

async function decode({
  bytes,
  spare,
  target,
  remainingMs,
  allowance,
  ...limits
}: DecodeOrder): Promise<void> {
  try {
    const deadline = performance.now() + remainingMs;
    const image = await decodeImage(bytes, target, {
      ...limits,
      deadline,
      spare,
      whenRoom: async (pixels) => {
        if (pixels > allowance) await whenRoom(pixels);
      },
    });
    send({ ok: true, image }, [image.pixels.buffer]);
    images += 1;
    // Ten milliseconds, where decoding a large one took hundreds.
    if (image.width * image.height > large || images % imagesPerCollection === 0) collectGarbage();
  } catch (error) {
    if (error instanceof ServiceError) {
      const { code, detail, cause } = error;
      send({ ok: false, problem: { code, detail }, cause });
    } else {
      send({ ok: false, cause: error });
    }
  }
}

port.on('message', (message: DecodeOrder | string) => {
  if (typeof message === 'string') goAhead?.();
  else void decode(message);
});
