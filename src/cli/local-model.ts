import { setMaxListeners } from 'node:events';
import { pMapIterable } from 'p-map';
import { Registry } from 'prom-client';
import type { Config } from '../config.js';
import type { Captioner, RequestContext } from '../captioner/captioner.js';
import { ServiceError } from '../errors.js';
import { createLogger } from '../logger.js';
import { startCaptioner } from '../start-captioner.js';
import { Interrupted } from './exit-codes.js';
import type { Input } from './inputs.js';
import { readInput } from './read-input.js';
import { deadlineExceeded } from '../promises.js';

/** What became of one input. */
export type Answer<T> =
  { readonly file: string; readonly result: T } | { readonly file: string; readonly error: ServiceError };

/** The file of an image. */
export interface ImageFile {
  readonly name: string;
  readonly bytes: Buffer;
}

/** Asks the model about one image. Throws ServiceError. */
export type Ask<T> = (captioner: Captioner, image: ImageFile, context: RequestContext) => Promise<T>;

/** Something that needs the model. Throws ServiceError. */
export type Work<T> = (captioner: Captioner, context: RequestContext) => Promise<T>;

/** The model in processes of this program, without a service. */
export interface LocalModel {
  /**
   * Answers in the order of the inputs, several under way at once: as many as keep the inference processes in full
   * batches, and no more than the queue has slots.
   * @throws ServiceError not_ready when no inference process stays up; the signal's reason when it is aborted
   */
  answerAll<T>(inputs: readonly Input[], ask: Ask<T>, signal: AbortSignal): AsyncGenerator<Answer<T>>;
  /** Does one thing with the model. Throws what it throws. */
  run<T>(work: Work<T>, signal: AbortSignal): Promise<T>;
  close(): Promise<void>;
}

/** No client waits behind a connection; this limit only ends what would never end. */
const imageTimeoutMs = 3_600_000;
/** Of each process: the batch that runs, the one it has in hand, and the one that is being decoded. */
const batchesUnderWay = 3;

/** The start of an inference process takes as much of a core as about this many images. */
const imagesWorthAProcess = 32;

/** Starts the inference processes; seconds. Throws what `startScheduler` throws. */
async function startLocalModel(config: Config, images: number): Promise<LocalModel> {
  const logger = await createLogger(config.logLevel, process.stderr);
  const isOneEnough = config.workers === 'auto' && images <= imagesWorthAProcess;
  const workers = isOneEnough ? 1 : config.workers;
  // A process runs the largest batch once before it is ready.
  const maxBatchSize = Math.min(config.maxBatchSize, Math.max(images, 1));
  // What runs when the user wants an end has no one to be finished for.
  const local = { ...config, shutdownGraceMs: 0, workers, maxBatchSize };
  const running = await startCaptioner(local, logger, new Registry());
  const { captioner, scheduler } = running;
  const { maxBodyBytes, maxQueueImages } = config;
  const concurrency = Math.min(batchesUnderWay * maxBatchSize * scheduler.processes, maxQueueImages);

  async function run<T>(work: Work<T>, signal: AbortSignal): Promise<T> {
    const timeout = new AbortController();
    const timer = setTimeout(() => {
      timeout.abort(deadlineExceeded());
    }, imageTimeoutMs);
    const permit = scheduler.admit(1);
    try {
      return await work(captioner, {
        permit,
        priority: 'batch',
        signal: AbortSignal.any([signal, timeout.signal]),
        client: 'the command line',
        startedAt: performance.now(),
      });
    } finally {
      permit.release();
      clearTimeout(timer);
    }
  }

  async function answer<T>({ name, problem }: Input, ask: Ask<T>, signal: AbortSignal): Promise<Answer<T>> {
    try {
      if (problem !== undefined) throw problem;
      const bytes = await readInput(name, maxBodyBytes, signal);
      const result = await run((_, context) => ask(captioner, { name, bytes }, context), signal);
      return { file: name, result };
    } catch (error) {
      return { file: name, error: error instanceof ServiceError ? error : unexpected(error) };
    }
  }

  return {
    async *answerAll(inputs, ask, signal) {
      setMaxListeners(0, signal); // each image under way listens
      const answers = pMapIterable(inputs, (input) => answer(input, ask, signal), {
        concurrency,
        // A slow image holds back those after it, but they are made meanwhile.
        backpressure: 2 * concurrency,
      });
      for await (const each of answers) {
        if (signal.aborted) throw signal.reason;
        if ('error' in each && each.error.code === 'not_ready' && !scheduler.readiness.ready) {
          throw new ServiceError('not_ready', scheduler.readiness.reason);
        }
        yield each;
      }
    },
    run,
    close: () => running.close(),
  };
}

function unexpected(error: unknown): ServiceError {
  return new ServiceError('internal', error instanceof Error ? error.message : String(error));
}

/**
 * Starts the model, works with it, and stops it. The first Ctrl-C (or SIGTERM) aborts the work and stops the model; one
 * that comes before the model is there, and the second, end the program at once.
 *
 * @param images that the model will be asked about, at most
 */
export async function withLocalModel<T>(
  config: Config,
  images: number,
  work: (model: LocalModel, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const model = await startLocalModel(config, images);
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    const interrupted = new Interrupted(name, 'stopped');
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(interrupted.exitCode);
      controller.abort(interrupted);
    });
  }
  try {
    return await work(model, controller.signal);
  } finally {
    await model.close();
  }
}
