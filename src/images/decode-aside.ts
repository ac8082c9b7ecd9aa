import { Worker } from 'node:worker_threads';
import sharp from 'sharp';
import { type ProblemCode, ServiceError } from '../problem.js';
import { collectGarbage } from './collect-garbage.js';
import type { DecodedImage, DecodeLimits, PixelTarget } from './decode.js';
import type { PixelBudget } from './pixel-budget.js';

/** What crosses to a thread: its clock begins at another time, so the deadline is told as what remains. */
export interface DecodeOrder extends Omit<DecodeLimits, 'deadline'> {
  readonly bytes: Uint8Array;
  /** Memory that the pixels may be returned in. */
  readonly spare: ArrayBuffer | undefined;
  readonly target: PixelTarget;
  readonly remainingMs: number;
  /** Pixels that the image may have without asking for room. */
  readonly allowance: number;
}

/** What a thread asks before it decodes more than its allowance: room for so many pixels. The answer is a text, when there is. */
export interface RoomRequest {
  readonly pixels: number;
}

/** What comes back. Of an error that is cloned only its message and stack remain, so the code travels beside it. */
export type DecodeOutcome =
  | { readonly ok: true; readonly image: DecodedImage }
  | { readonly ok: false; readonly problem?: { code: ProblemCode; detail: string }; readonly cause: unknown };

// Every loader is a parser that strangers can reach, so all but these are closed (libvips brings PDF, SVG,
// HEIC, raw dumps and more). Only the buffer variants: nothing here reads a file. Closed once for all threads of the
// process, before there is one: a thread that did it again would close them for a moment to those that decode.
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Heif', 'Tiff'].map((name) => `VipsForeignLoad${name}Buffer`),
});

/** Memory for the pixels of images. */
export interface Room {
  readonly budget: PixelBudget;
  /** Pixels that each image takes of it at first; one with more gives them back and takes as many as it has. */
  readonly allowance: number;
}

const entry = new URL('./decode-thread.js', import.meta.url);
/** As many as images were ever decoded side by side, which `createDecoder` bounds. */
const idle = new Set<Worker>();

/** Of earlier images, for those to come. */
const spares: ArrayBuffer[] = [];
const mostSpares = 64;

/**
 * Takes back the memory of pixels that nothing needs any more: they lose their length to a later image. What is not given back
 * is left to V8, which frees it late.
 */
export function reusePixels({ buffer }: Uint8Array<ArrayBuffer>): void {
  if (spares.length < mostSpares) spares.push(buffer);
}

/** Each image leaves about a megabyte behind, nearly all of it young. */
const imagesPerMinorCollection = 24;
/** What has grown old by then; V8 would let the heap grow to four times what is alive in it. */
const imagesPerCollection = 40 * imagesPerMinorCollection;
let images = 0;

/**
 * `decodeImage` in a thread of its own: the thread that answers requests has no time for the resize, nor for the copy of
 * 36 MB of pixels, which memory that sharp made cannot be handed over without.
 *
 * @param bytes handed over: where their memory is theirs alone, they have no length from then on
 * @param room in memory, shared with all images that are decoded at the time
 * @throws what `decodeImage` throws; another error when the thread dies, which then is replaced
 */
export async function decodeAside(
  bytes: Uint8Array,
  target: PixelTarget,
  { deadline, ...limits }: DecodeLimits,
  { budget, allowance }: Room = boundless,
): Promise<DecodedImage> {
  // Taken before the size is known, so that a photo of usual size needs no messages about it: under load, waking a thread is dear.
  let giveBack = await budget.take(allowance);
  const own = withOwnMemory(bytes);
  const spare = spares.pop();
  const [thread = startThread()] = idle;
  idle.delete(thread);
  const outcome = await new Promise<DecodeOutcome>((resolve, reject) => {
    let isOver = false;
    const end = () => {
      isOver = true;
      giveBack();
      thread.off('error', died).off('exit', died).off('message', receive);
    };
    const died = (reason: unknown) => {
      end();
      reject(new Error('the thread that decoded the image died', { cause: reason }));
    };
    const letGoAhead = async (pixels: number) => {
      // Whoever waited for more with something in hand would wait for others who do the same.
      giveBack();
      giveBack = () => undefined;
      const leave = await budget.take(pixels);
      if (isOver) {
        leave();
        return;
      }
      giveBack = leave;
      thread.postMessage('go ahead');
    };
    const receive = (message: DecodeOutcome | RoomRequest) => {
      if ('pixels' in message) {
        void letGoAhead(message.pixels);
        return;
      }
      end();
      resolve(message);
    };
    thread.on('error', died).on('exit', died).on('message', receive);
    const remainingMs = deadline - performance.now();
    const order: DecodeOrder = { bytes: own.bytes, spare, target, remainingMs, allowance, ...limits };
    thread.ref();
    thread.postMessage(order, spare === undefined ? [own.buffer] : [own.buffer, spare]);
  });
  // A thread that waits must not keep a process alive that has nothing else to do.
  thread.unref();
  idle.add(thread);
  images += 1;
  if (images % imagesPerCollection === 0) collectGarbage();
  else if (images % imagesPerMinorCollection === 0) collectGarbage({ type: 'minor' });
  if (outcome.ok) return outcome.image;
  if (outcome.problem === undefined) throw outcome.cause;
  const error = new ServiceError(outcome.problem.code, outcome.problem.detail);
  error.cause = outcome.cause;
  throw error;
}

const boundless: Room = { budget: { take: () => Promise.resolve(() => undefined) }, allowance: Infinity };

/** Small buffers of Node.js share their memory with others. */
function withOwnMemory(bytes: Uint8Array): { bytes: Uint8Array; buffer: ArrayBuffer } {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === bytes.byteLength) return { bytes, buffer };
  const copy = new Uint8Array(bytes);
  return { bytes: copy, buffer: copy.buffer };
}

/** Half as much and pixels outlive it, to be freed much later. */
const youngMegabytes = 6;

function startThread(): Worker {
  // Its young generation would grow with the images it has decoded, and with it the pixels that wait to be freed.
  const thread = new Worker(entry, {
    name: 'decode',
    resourceLimits: { maxYoungGenerationSizeMb: youngMegabytes },
  });
  // It may die while it waits, too.
  const forget = () => idle.delete(thread);
  return thread.on('error', forget).on('exit', forget);
}
