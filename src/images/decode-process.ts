import type { BaseLogger } from 'pino';
import { type Child, startChild } from '../child-process.js';
import { ServiceError } from '../errors.js';
import { residentBytes } from '../resident-memory.js';
import type { DecodedImage } from './decode.js';
import type { DecodeAnswer, DecodeCommand } from './decode-worker.js';

export type DecodeLogger = Pick<BaseLogger, 'info' | 'warn' | 'error'>;

export interface DecodeBounds {
  /** Milliseconds that an image may take to decode. */
  readonly timeoutMs: number;
  /** Resident memory that the process may have while it decodes. */
  readonly memoryBytes: number;
}

/** An image file, and what is wanted of it. */
export type FileToDecode = Omit<DecodeCommand, 'fileBytes'> & { readonly bytes: Uint8Array };

/** The process ended by itself while it had an image, which may not be to blame. */
export class DecodeProcessEnded extends Error {
  override readonly name = 'DecodeProcessEnded';
}

type Outcome = DecodeAnswer | { readonly type: 'ended'; readonly why: string };

/** How often the memory of a process that decodes is read: a decoder fills a few megabytes a millisecond. */
const memoryIntervalMs = 25;

/**
 * A child process that decodes one image at a time. It is killed when an image takes too long or too much memory, and
 * cannot be used after that.
 */
export class DecodeProcess {
  readonly #child: Child;
  #settle: ((outcome: Outcome) => void) | undefined;
  #state: 'starting' | 'idle' | 'busy' | 'leaving' | 'ended' = 'starting';
  /** Images that were decoded here. */
  images = 0;

  /** Resolves once the process takes images, with false when it ends before. */
  readonly ready: Promise<boolean>;
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>;

  constructor(entry: URL, logger: DecodeLogger) {
    const options = {
      execArgv: ['--enable-source-maps'],
      // libvips works in one thread of libuv's pool; more would only hold memory.
      env: { ...process.env, UV_THREADPOOL_SIZE: '2' },
    };
    // Loaders write warnings about a file to the standard streams.
    this.#child = startChild(entry, options, (line, pid) => {
      logger.warn({ decodeProcess: pid }, line);
    });
    this.ready = this.#nextOutcome().then(({ type }) => {
      if (this.#state === 'starting') this.#rest();
      return type === 'ready';
    });
    this.#child.process.on('message', (answer: DecodeAnswer) => this.#settle?.(answer));
    this.ended = this.#child.ended.then((why) => {
      this.#state = 'ended';
      this.#settle?.({ type: 'ended', why });
    });
  }

  get pid(): number | undefined {
    return this.#child.process.pid;
  }

  get isBusy(): boolean {
    return this.#state === 'busy';
  }

  /** Whether it takes an image now. */
  get isIdle(): boolean {
    return this.#state === 'idle';
  }

  /** Resident memory in bytes; 0 where the system does not tell. */
  get residentBytes(): number {
    return residentBytes(this.pid);
  }

  /**
   * Decodes one image; the caller waits for the answer before the next.
   *
   * @throws ServiceError what `decodeImage` throws, and image_too_complex when the bounds are over: the process is gone
   *   then; DecodeProcessEnded
   */
  async decode(
    { bytes, ...command }: FileToDecode,
    { timeoutMs, memoryBytes }: DecodeBounds,
  ): Promise<DecodedImage> {
    const outcome = this.#nextOutcome();
    this.#state = 'busy';
    let exceeded: string | undefined;
    const stop = (detail: string): void => {
      exceeded = detail;
      this.kill();
    };
    const timer = setTimeout(() => {
      stop(`The image took longer than ${timeoutMs} ms to decode.`);
    }, timeoutMs);
    const memoryTimer = setInterval(() => {
      if (this.residentBytes > memoryBytes)
        stop('The image takes more memory to decode than this service allows.');
    }, memoryIntervalMs);
    try {
      this.#child.send({ ...command, fileBytes: bytes.length } satisfies DecodeCommand, bytes);
      return imageOf(await outcome, exceeded);
    } finally {
      clearTimeout(timer);
      clearInterval(memoryTimer);
      this.images += 1;
      if (this.isBusy) this.#state = 'idle';
    }
  }

  /** Ends the process at once, whatever it does. It may still answer its last image before its end is seen. */
  kill(): void {
    if (this.#state !== 'ended') this.#state = 'leaving';
    this.#child.process.ref(); // its end is waited for
    this.#child.process.kill('SIGKILL');
  }

  /** Lets the process leave by itself. */
  leave(): void {
    if (this.#state !== 'ended') this.#state = 'leaving';
    if (this.#child.process.connected) this.#child.process.disconnect();
  }

  #nextOutcome(): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#settle = (outcome) => {
        this.#settle = undefined;
        resolve(outcome);
      };
    });
  }

  /** A process that waits must not keep the program alive; one that decodes does, by its timers. */
  #rest(): void {
    this.#state = 'idle';
    this.#child.unref();
  }
}

function imageOf(outcome: Outcome, exceeded: string | undefined): DecodedImage {
  switch (outcome.type) {
    case 'decoded':
      return outcome.image;
    case 'refused': {
      const error = new ServiceError(outcome.code, outcome.detail);
      if (outcome.cause !== undefined) error.cause = new Error(outcome.cause);
      throw error;
    }
    case 'failed':
      throw new Error(`decoding failed: ${outcome.message}`);
    case 'ended':
      if (exceeded !== undefined) throw new ServiceError('image_too_complex', exceeded);
      throw new DecodeProcessEnded(`the decode process ${outcome.why}`);
    case 'ready':
      throw new Error('a decode process started twice');
  }
}
