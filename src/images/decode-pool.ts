import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError } from '../errors.js';
import { abortable, abortError, deferred } from '../promises.js';
import type { DecodedImage, PixelTarget } from './decode.js';
import { type DecodeLogger, DecodeProcess, DecodeProcessEnded, type FileToDecode } from './decode-process.js';
import { decodeCost, type DecodeLimits, readHeader } from './limits.js';

/** `batch`: one of many images of an upload, decoded when no single image waits. */
export type DecodePriority = 'single' | 'batch';

export interface DecodeRequest {
  readonly priority: DecodePriority;
  /** Aborted at the request's deadline, or when its client has gone. */
  readonly signal: AbortSignal;
}

/** Decodes images to the pixels that a model takes. */
export interface ImageDecoder {
  /**
   * @throws ServiceError empty_image | unsupported_image_format | image_unreadable | image_too_many_pixels |
   *   image_too_complex; the signal's reason when it is aborted
   */
  decode(bytes: Uint8Array, target: PixelTarget, request: DecodeRequest): Promise<DecodedImage>;
  /** Ends all decode processes; what is being decoded fails. */
  close(): Promise<void>;
}

/** The settings of the service that decoding reads; see config.ts for their meaning. */
export interface DecodePoolOptions extends DecodeLimits {
  /** Images decoded at the same time. */
  readonly decoders: number;
  readonly decodeTimeoutMs: number;
  readonly decodeMemoryBytes: number;
}

type Kind = 'small' | 'large';

interface WaitingImage {
  readonly kind: Kind;
  /** Decoding time, as `decodeCost` estimates it. */
  readonly cost: number;
  readonly priority: DecodePriority;
  readonly enqueuedAt: number;
  /** Takes the image to a process, until it is answered. */
  readonly start: (worker: DecodeProcess) => Promise<void>;
  /** Gives it up. */
  readonly fail: (error: Error) => void;
}

const decodeWorker = new URL('./decode-worker.js', import.meta.url);
/** Cost from which an image is large: it takes about as long to decode as to caption. */
const largeCost = 4_000_000;
/** A batch upload's image that has waited this long is served like a single image. */
const maxBatchWaitMs = 2000;
/** An image whose client has gone may be decoded to its end for this long; ending a process costs more. */
const abandonedMs = 250;
/** Images after which a process is replaced, for whatever its libraries have not freed. */
const maxImagesPerProcess = 5000;
/** Resident memory from which a process that has nothing to do is replaced. */
const maxIdleBytes = 256 * 1024 ** 2;
/** Pause before a process is started anew when one could not even start. */
const restartPauseMs = 500;

/**
 * A pool of decode processes, started as images come. Each decodes one image at a time and is killed when the image takes
 * too long or too much memory. One more process than work stands by, so that a killed one is replaced at once.
 */
export class DecodePool implements ImageDecoder {
  readonly #options: DecodePoolOptions;
  readonly #logger: DecodeLogger;
  readonly #onDecoded: (decodeMs: number) => void;
  readonly #entry: URL;
  readonly #queue = new DecodeQueue();
  readonly #processes = new Set<DecodeProcess>();
  readonly #running: Record<Kind, number> = { small: 0, large: 0 };
  #isClosed = false;

  /**
   * @param onDecoded is called with the milliseconds that an image took, without its wait
   * @param entry of the decode processes; another one in tests
   */
  constructor(
    options: DecodePoolOptions,
    logger: DecodeLogger,
    onDecoded: (decodeMs: number) => void = () => undefined,
    entry = decodeWorker,
  ) {
    this.#options = options;
    this.#logger = logger;
    this.#onDecoded = onDecoded;
    this.#entry = entry;
    this.#dispatch();
  }

  /** Processes that run, the one that stands by included. */
  get processes(): readonly DecodeProcess[] {
    return [...this.#processes];
  }

  async decode(
    bytes: Uint8Array,
    target: PixelTarget,
    { priority, signal }: DecodeRequest,
  ): Promise<DecodedImage> {
    if (signal.aborted) throw abortError(signal);
    const { maxPixels, maxSide, heic } = this.#options;
    const limits = { maxPixels, maxSide, heic };
    const cost = decodeCost(readHeader(bytes, limits), limits);
    const { promise, resolve, reject } = deferred<DecodedImage>();
    let crashes = 0;
    const image: WaitingImage = {
      fail: reject,
      kind: cost >= largeCost ? 'large' : 'small',
      cost,
      priority,
      enqueuedAt: performance.now(),
      start: async (worker) => {
        try {
          resolve(await this.#run(worker, { bytes, target, limits }, signal));
        } catch (error) {
          const isCrash = error instanceof DecodeProcessEnded && !signal.aborted && !this.#isClosed;
          crashes += isCrash ? 1 : 0;
          // The process may have been ended from outside, so the image is tried once more.
          if (isCrash && crashes === 1) this.#queue.add(image);
          else reject(isCrash ? crashed(error) : asError(error));
        }
      },
    };
    if (this.#isClosed) throw closed();
    this.#queue.add(image);
    this.#dispatch();
    try {
      return await abortable(promise, signal);
    } catch (error) {
      promise.catch(() => undefined); // of an image that was abandoned, nobody needs the error
      this.#queue.remove(image);
      throw error;
    }
  }

  /** Ends the processes at once; images that wait are given up. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const image of this.#queue.clear()) image.fail(closed());
    for (const worker of this.#processes) worker.kill();
    await Promise.all(this.processes.map(({ ended }) => ended));
  }

  /** Hands waiting images to idle processes, and starts the processes that are needed. */
  #dispatch(): void {
    if (this.#isClosed) return;
    const { decoders } = this.#options;
    const running = this.#running;
    for (const worker of this.#processes) {
      if (!worker.isIdle || running.small + running.large >= decoders) continue;
      // Large images leave one process to the small ones, where there are several.
      const allowLarge = running.large < Math.max(1, decoders - 1);
      const image = this.#queue.take(allowLarge, performance.now());
      if (image === undefined) break;
      void this.#occupy(image, worker);
    }
    const wanted = Math.min(running.small + running.large + this.#queue.length, decoders) + 1;
    while (this.#processes.size < wanted) this.#startProcess();
  }

  async #occupy(image: WaitingImage, worker: DecodeProcess): Promise<void> {
    this.#running[image.kind] += 1;
    await image.start(worker);
    this.#running[image.kind] -= 1;
    if (worker.images >= maxImagesPerProcess || worker.residentBytes > maxIdleBytes) worker.leave();
    this.#dispatch();
  }

  /** Decodes in a process, which is killed when the answer is of no use any more and still far away. */
  async #run(worker: DecodeProcess, file: FileToDecode, signal: AbortSignal): Promise<DecodedImage> {
    const startedAt = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      timer = setTimeout(() => {
        worker.kill();
      }, abandonedMs);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const { decodeTimeoutMs: timeoutMs, decodeMemoryBytes: memoryBytes } = this.#options;
      return await worker.decode(file, { timeoutMs, memoryBytes });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      this.#onDecoded(performance.now() - startedAt);
    }
  }

  #startProcess(): void {
    const worker = new DecodeProcess(this.#entry, this.#logger);
    this.#processes.add(worker);
    void worker.ready.then(() => {
      this.#dispatch();
    });
    void Promise.all([worker.ready, worker.ended]).then(async ([wasReady]) => {
      if (!wasReady && !this.#isClosed) {
        this.#logger.error('a decode process ended before it was ready');
        await sleep(restartPauseMs);
      }
      this.#processes.delete(worker);
      this.#dispatch();
    });
  }
}

/**
 * The images that wait for a decode process, in two lines: small and large. Each line gets the same share of the
 * decoding time, so that small images do not wait for the large images of others, and large images are not starved.
 */
class DecodeQueue {
  readonly #lines: Readonly<Record<Kind, WaitingImage[]>> = { small: [], large: [] };
  /** Cost that was taken of each line since both were empty. */
  readonly #taken: Record<Kind, number> = { small: 0, large: 0 };

  get length(): number {
    return this.#lines.small.length + this.#lines.large.length;
  }

  add(image: WaitingImage): void {
    const { kind } = image;
    const other: Kind = kind === 'small' ? 'large' : 'small';
    if (this.length === 0) this.#taken.small = this.#taken.large = 0;
    // A line that was empty has saved nothing up.
    else if (this.#lines[kind].length === 0)
      this.#taken[kind] = Math.max(this.#taken[kind], this.#taken[other]);
    this.#lines[kind].push(image);
  }

  remove(image: WaitingImage): void {
    const line = this.#lines[image.kind];
    const index = line.indexOf(image);
    if (index !== -1) line.splice(index, 1);
  }

  /** Gives all that wait, which wait no more. */
  clear(): WaitingImage[] {
    return Object.values(this.#lines).flatMap((line) => line.splice(0));
  }

  /** @param allowLarge whether a process may be taken up by a large image now */
  take(allowLarge: boolean, now: number): WaitingImage | undefined {
    const { small, large } = this.#lines;
    const isLarge =
      allowLarge && large.length > 0 && (small.length === 0 || this.#taken.large < this.#taken.small);
    const line = isLarge ? large : small;
    // Single images come first, and images of batch uploads once they have waited for long.
    const isOverdue = line[0] !== undefined && now - line[0].enqueuedAt > maxBatchWaitMs;
    const single = isOverdue ? 0 : line.findIndex(({ priority }) => priority === 'single');
    const [image] = line.splice(Math.max(0, single), 1);
    if (image !== undefined) this.#taken[image.kind] += image.cost;
    return image;
  }
}

function closed(): ServiceError {
  return new ServiceError('draining', 'the service stopped before the image was decoded');
}

function crashed(cause: Error): ServiceError {
  const error = new ServiceError('image_unreadable', 'The decoder crashed on this image.');
  error.cause = cause;
  return error;
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
