import { setMaxListeners } from 'node:events';
import { pMapIterable } from 'p-map';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { Config } from '../config.js';
import { createEngine } from '../engine/create-engine.js';
import type { Admitted } from '../http/submission/admission.js';
import type { ImageWay } from '../http/submission/read-pixels.js';
import type { ImageSource } from '../http/submission/submission.js';
import { createDecoder } from '../images/decoder.js';
import { ServiceError } from '../problem.js';
import { Interrupted } from './exit-codes.js';
import type { Input } from './inputs.js';
import { readInput } from './read-input.js';

/** What became of one input. */
export type Answer<T> =
  { readonly file: string; readonly result: T } | { readonly file: string; readonly error: ServiceError };

/** Asks the model about one image. Throws ServiceError. */
export type Ask<T> = (way: ImageWay, source: ImageSource, admitted: Admitted) => Promise<T>;

/** The pipeline of the service without its HTTP side. */
export interface LocalModel {
  /**
   * Answers in the order of the inputs, several under way at once: as many as keep the inference processes in full
   * batches, and no more than the queue has places.
   * @throws ServiceError not_ready when no inference process stays up; the signal's reason when it is aborted
   */
  answerAll<T>(inputs: readonly Input[], ask: Ask<T>, signal: AbortSignal): AsyncGenerator<Answer<T>>;
  close(): Promise<void>;
}

/** Nobody waits for an answer behind a connection; this only ends what would never end. */
const imageTimeoutMs = 3_600_000;
/** Of each process: the batch that runs, the one it has in hand, and the one that is being decoded. */
const batchesUnderWay = 3;

/** Starts the inference processes; seconds. Throws what `createEngine` throws. */
async function startLocalModel(config: Config): Promise<LocalModel> {
  const logger = pino({ level: config.logLevel }, pino.destination(process.stderr.fd));
  // What runs when the user wants an end has no one to be finished for.
  const engine = await createEngine({ ...config, shutdownGraceMs: 0 }, logger, new Registry());
  const { maxBodyBytes, maxBatchSize, maxQueueImages } = config;
  const way = { engine, decoder: createDecoder(config), maxBodyBytes };
  const concurrency = Math.min(batchesUnderWay * maxBatchSize * engine.processes, maxQueueImages);

  async function answer<T>({ name, problem }: Input, ask: Ask<T>, signal: AbortSignal): Promise<Answer<T>> {
    const startedAt = performance.now();
    const deadline = startedAt + imageTimeoutMs;
    const priority = 'batch';
    try {
      if (problem !== undefined) throw problem;
      const bytes = await readInput(name, maxBodyBytes, signal);
      const reservation = engine.reserve(1, { deadline, priority, signal });
      try {
        const admitted = { reservation, startedAt, deadline, priority, signal } as const;
        return { file: name, result: await ask(way, { kind: 'bytes', bytes }, admitted) };
      } finally {
        reservation.release();
      }
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
        if ('error' in each && each.error.code === 'not_ready' && !engine.readiness.ready) {
          throw new ServiceError('not_ready', engine.readiness.reason);
        }
        yield each;
      }
    },
    close: () => engine.drain(),
  };
}

function unexpected(error: unknown): ServiceError {
  return new ServiceError('internal', error instanceof Error ? error.message : String(error));
}

/**
 * Starts the model, works with it, and stops it. The first Ctrl-C (or SIGTERM) aborts the work and stops the model; one
 * that comes before the model is there, and the second, end the program at once.
 */
export async function withLocalModel<T>(
  config: Config,
  work: (model: LocalModel, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const model = await startLocalModel(config);
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
