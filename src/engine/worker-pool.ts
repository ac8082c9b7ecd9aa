import { setTimeout as sleep } from 'node:timers/promises';
import type { ItemAnswer, LoadOrder, WorkItem } from '../runtime/messages.js';
import { deferred } from './deferred.js';
import type { Readiness } from './engine.js';
import type { RestartReason } from './metrics.js';
import {
  type EngineLogger,
  startWorker,
  type WarmUp,
  WorkerDied,
  type WorkerProcess,
  WorkerRefused,
  type WorkerTimings,
} from './worker-process.js';

/** One run of the model; exactly one of the two callbacks is called. */
export interface Job {
  readonly items: readonly WorkItem[];
  answered(answers: readonly ItemAnswer[], elapsedMs: number): void;
  crashed(reason: string): void;
}

export interface WorkerPoolOptions {
  readonly entry: URL;
  /** One for each worker. */
  readonly orders: readonly LoadOrder[];
  readonly timings: WorkerTimings;
  readonly logger: EngineLogger;
  /** Pulled whenever a worker is free; undefined when nothing is due. */
  readonly takeJob: (idleWorkers: number) => Job | undefined;
  readonly onRestart: (reason: RestartReason) => void;
}

interface Slot {
  readonly order: LoadOrder;
  worker?: WorkerProcess;
  state: 'down' | 'idle' | 'busy';
  /** Ends in a row without an answered batch between them. */
  failures: number;
}

/** Failures in a row from which a worker counts as crashing in a loop; a poison item alone makes three. */
const crashLoop = 4;
/** Failures in a row at which the first start is given up. */
const mostFirstFailures = 3;
const firstBackOffMs = 250;
const longestBackOffMs = 30_000;

/** Keeps its workers alive and busy. */
export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #slots: readonly Slot[];
  readonly #stopping = new AbortController();
  #lastFailure = '';
  #loops: readonly Promise<void>[] = [];

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#slots = options.orders.map((order) => ({ order, state: 'down', failures: 0 }));
  }

  /** Workers that are warm. */
  get ready(): number {
    return this.#slots.filter(({ state }) => state !== 'down').length;
  }

  /** A worker that is being replaced is no reason to refuse work; one that crashes in a loop is. */
  get readiness(): Readiness {
    if (this.#slots.some(({ state, failures }) => state !== 'down' || failures < crashLoop))
      return { ready: true };
    return { ready: false, reason: `no inference process stays up: ${this.#lastFailure}` };
  }

  /**
   * Resolves with each worker's warm-up once all are warm.
   * @throws WorkerRefused, or WorkerDied when a worker died several times in a row; the pool is stopped then
   */
  async start(): Promise<WarmUp[]> {
    const started = this.#slots.map(() => deferred<WarmUp>());
    this.#loops = this.#slots.map((slot, index) =>
      this.#keepAlive(
        slot,
        (warmUp) => started[index]?.resolve(warmUp),
        (error) => started[index]?.reject(error),
      ),
    );
    try {
      return await Promise.all(started.map(({ promise }) => promise));
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Something may be due: free workers pull. */
  wake(): void {
    for (const slot of this.#slots) {
      if (slot.state !== 'idle' || slot.worker === undefined) continue;
      const idle = this.#slots.filter(({ state }) => state === 'idle').length;
      const job = this.#options.takeJob(idle);
      if (job === undefined) return;
      void this.#run(slot, slot.worker, job);
    }
  }

  /** Stops all workers, whatever they do. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#slots.flatMap(({ worker }) => (worker === undefined ? [] : [worker.stop()])));
    await Promise.all(this.#loops);
  }

  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #run(slot: Slot, worker: WorkerProcess, job: Job): Promise<void> {
    slot.state = 'busy';
    const started = performance.now();
    let answers: readonly ItemAnswer[];
    try {
      answers = await worker.run(job.items);
    } catch (error) {
      job.crashed(error instanceof Error ? error.message : String(error));
      // Other workers may take what was put back.
      this.wake();
      return;
    }
    slot.failures = 0;
    slot.state = 'idle';
    const elapsedMs = performance.now() - started;
    this.wake(); // the worker gets its next batch before this one's answers are written
    job.answered(answers, elapsedMs);
  }

  /** Starts a worker, waits for its end, and starts the next, until the pool stops. */
  async #keepAlive(
    slot: Slot,
    onFirstReady: (warmUp: WarmUp) => void,
    onFirstFailure: (error: Error) => void,
  ): Promise<void> {
    const { entry, timings, logger, onRestart } = this.#options;
    const { signal } = this.#stopping;
    while (!this.#isStopping()) {
      const worker = startWorker(entry, slot.order, timings, logger);
      slot.worker = worker;
      let end: WorkerDied | WorkerRefused;
      try {
        const warmUp = await worker.ready;
        slot.state = 'idle';
        logger.info({ worker: worker.pid, warmUp }, 'inference process is warm');
        onFirstReady(warmUp);
        this.wake();
        end = await worker.ended;
      } catch (error) {
        if (!(error instanceof WorkerDied || error instanceof WorkerRefused)) throw error;
        end = error;
        await worker.stop();
      }
      slot.state = 'down';
      if (this.#isStopping()) break;
      slot.failures += 1;
      this.#lastFailure = end.message;
      logger.error({ worker: worker.pid, failures: slot.failures }, `inference process ${end.message}`);
      // Both are heard only until the first start is over.
      if (end instanceof WorkerRefused || slot.failures >= mostFirstFailures) onFirstFailure(end);
      onRestart(end instanceof WorkerDied ? end.reason : 'start');
      await sleep(backOffMs(slot.failures), undefined, { signal }).catch(() => undefined);
    }
    onFirstFailure(new WorkerRefused('was stopped before it was warm'));
  }
}

/** The first replacement comes at once; then the pause doubles. */
function backOffMs(failures: number): number {
  return failures <= 1 ? 0 : Math.min(firstBackOffMs * 2 ** (failures - 2), longestBackOffMs);
}
