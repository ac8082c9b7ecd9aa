import { setTimeout as sleep } from 'node:timers/promises';
import type { ItemAnswer, LoadCommand, WorkItem } from '../inference/messages.js';
import type { Readiness } from './scheduler.js';
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
import { deferred } from '../promises.js';

/** One run of the model. It is handed over, begins, and is answered; or it ends in a crash, begun or not. */
export interface Job {
  readonly items: readonly WorkItem[];
  /** Whether it takes so long that nothing should wait for the same worker. */
  readonly isCostly: boolean;
  /** @param skip keeps the worker from running an item, by its index, as long as the run has not begun */
  handedOver(skip: (index: number) => void): void;
  begun(): void;
  /** @param elapsedMs since it began */
  answered(answers: readonly ItemAnswer[], elapsedMs: number): void;
  /** The worker ended in this run. */
  crashed(): void;
  /** The worker ended before this run began. */
  returned(): void;
}

export interface WorkerPoolOptions {
  readonly entry: URL;
  /** One for each worker. */
  readonly loadCommands: readonly LoadCommand[];
  /** How many are started at first; the others follow as soon as there is room for them. Left out: all. */
  readonly atFirst?: { readonly workers: number; readonly roomForAll: Promise<unknown> } | undefined;
  readonly timings: WorkerTimings;
  readonly logger: EngineLogger;
  /** For one more worker, which takes an image that is alone in the service. */
  readonly lowLatencyCommand?: LoadCommand | undefined;
  /** Pulled whenever a worker is free; undefined when nothing is due. */
  readonly takeJob: (idleWorkers: number) => Job | undefined;
  /**
   * Pulled when all workers are busy, so that one has its next batch before it is done; undefined unless a whole
   * batch waits: less may still grow, or be taken by whichever worker is free first.
   */
  readonly takeNextJob: () => Job | undefined;
  /** Whether the image that waits is the only one in the service. */
  readonly isAlone: () => boolean;
  readonly onRestart: (reason: RestartReason) => void;
}

interface Slot {
  readonly command: LoadCommand;
  readonly isLowLatency: boolean;
  worker?: WorkerProcess;
  isUp: boolean;
  /** Batches handed over and not answered: one that runs, and at most one that is next. */
  jobs: number;
  /** When the last one was handed over. */
  busySince: number;
  /** Whether what runs is costly. */
  isCostly: boolean;
  /** Ends in a row without an answered batch between them. */
  failures: number;
}

/** Failures in a row from which a worker counts as crashing in a loop; a poison item alone makes three. */
const crashLoop = 4;
/** Failures in a row at which the first start is given up. */
const maxFirstFailures = 3;
const firstBackOffMs = 250;
const maxBackOffMs = 30_000;

/** Keeps its workers alive and busy. */
export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #slots: readonly Slot[];
  readonly #stopping = new AbortController();
  readonly #stopped = deferred<undefined>();
  #lastFailure = '';
  #loops: readonly Promise<void>[] = [];

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    const slotOf = (isLowLatency: boolean) => (command: LoadCommand) => {
      return { command, isLowLatency, isUp: false, jobs: 0, busySince: 0, isCostly: false, failures: 0 };
    };
    const lowLatency = options.lowLatencyCommand === undefined ? [] : [options.lowLatencyCommand];
    this.#slots = [...options.loadCommands.map(slotOf(false)), ...lowLatency.map(slotOf(true))];
  }

  /** Workers that are warm. */
  get ready(): number {
    return this.#slots.filter(({ isUp }) => isUp).length;
  }

  /** The processes that there are, warm or starting. */
  get pids(): number[] {
    return this.#slots.flatMap(({ worker }) => (worker?.pid === undefined ? [] : [worker.pid]));
  }

  /** Workers that share what waits. */
  get sharing(): number {
    return this.#sharingSlots().length;
  }

  /** A worker that is being replaced is no reason to refuse work; one that crashes in a loop is. */
  get readiness(): Readiness {
    if (this.#slots.some(({ isUp, failures }) => isUp || failures < crashLoop)) return { ready: true };
    return { ready: false, reason: `no inference process stays up: ${this.#lastFailure}` };
  }

  /**
   * Resolves with each worker's warm-up once all that are started at first are warm.
   * @throws WorkerRefused, or WorkerDied when a worker died several times in a row; the pool is stopped then
   */
  async start(): Promise<WarmUp[]> {
    const { atFirst } = this.#options;
    const first = this.#slots.slice(0, atFirst?.workers);
    const started = first.map(() => deferred<WarmUp>());
    this.#loops = this.#slots.map(async (slot, index) => {
      if (index >= first.length) await Promise.race([atFirst?.roomForAll, this.#stopped.promise]);
      await this.#keepAlive(
        slot,
        (warmUp) => started[index]?.resolve(warmUp),
        (error) => started[index]?.reject(error),
      );
    });
    try {
      return await Promise.all(started.map(({ promise }) => promise));
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Something may be due: free workers pull. */
  wake(): void {
    const slots = this.#sharingSlots();
    const lowLatency = this.#slots.find(({ isLowLatency, isUp }) => isLowLatency && isUp);
    if (lowLatency?.jobs === 0 && slots.every(({ jobs }) => jobs === 0) && this.#options.isAlone()) {
      this.#pull(lowLatency, () => this.#options.takeJob(1));
    }
    for (const slot of slots) {
      if (slot.jobs > 0) continue;
      const idle = slots.filter(({ jobs }) => jobs === 0).length;
      if (!this.#pull(slot, () => this.#options.takeJob(idle))) return;
    }
    for (const slot of slots.toSorted((a, b) => a.busySince - b.busySince)) {
      if (slot.jobs === 1 && !slot.isCostly && !this.#pull(slot, this.#options.takeNextJob)) return;
    }
  }

  /** The workers that are warm; the low-latency worker only where it is the last one. */
  #sharingSlots(): Slot[] {
    const up = this.#slots.filter(({ isUp }) => isUp);
    const sharing = up.filter(({ isLowLatency }) => !isLowLatency);
    return sharing.length === 0 ? up : sharing;
  }

  /** False when there is no job. */
  #pull(slot: Slot, take: () => Job | undefined): boolean {
    const job = take();
    if (job === undefined) return false;
    if (slot.worker !== undefined) void this.#run(slot, slot.worker, job);
    return true;
  }

  /** Stops all workers, whatever they do. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#stopped.resolve(undefined);
    await Promise.all(this.#slots.flatMap(({ worker }) => (worker === undefined ? [] : [worker.stop()])));
    await Promise.all(this.#loops);
  }

  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #run(slot: Slot, worker: WorkerProcess, job: Job): Promise<void> {
    slot.jobs += 1;
    slot.busySince = performance.now();
    slot.isCostly = job.isCostly;
    let begunAt: number | undefined;
    const { answers, skip } = worker.run(job.items, () => {
      begunAt = performance.now();
      job.begun();
    });
    job.handedOver(skip);
    let answered: readonly ItemAnswer[];
    try {
      answered = await answers;
    } catch {
      // The process has gone; what it ended of is told by `ended`.
      slot.isUp = false;
      if (begunAt === undefined) job.returned();
      else job.crashed();
      // Other workers may take what was put back.
      this.wake();
      return;
    }
    slot.failures = 0;
    slot.jobs -= 1;
    const elapsedMs = performance.now() - (begunAt ?? slot.busySince);
    this.wake(); // the worker gets its next batch before this one's answers are written
    job.answered(answered, elapsedMs);
    if (job.isCostly) this.wake(); // another costly one may run
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
      const worker = startWorker(entry, slot.command, timings, logger);
      slot.worker = worker;
      let end: WorkerDied | WorkerRefused;
      try {
        const warmUp = await worker.ready;
        slot.jobs = 0;
        slot.isUp = true;
        logger.info({ worker: worker.pid, warmUp }, 'inference process is warm');
        onFirstReady(warmUp);
        this.wake();
        end = await worker.ended;
      } catch (error) {
        if (!(error instanceof WorkerDied || error instanceof WorkerRefused)) throw error;
        end = error;
        await worker.stop();
      }
      slot.isUp = false;
      if (this.#isStopping()) break;
      slot.failures += 1;
      this.#lastFailure = end.message;
      logger.error({ worker: worker.pid, failures: slot.failures }, `inference process ${end.message}`);
      // Both are heard only until the first start is over.
      if (end instanceof WorkerRefused || slot.failures >= maxFirstFailures) onFirstFailure(end);
      onRestart(end instanceof WorkerDied ? end.reason : 'start');
      await sleep(backOffMs(slot.failures), undefined, { signal }).catch(() => undefined);
    }
    onFirstFailure(new WorkerRefused('was stopped before it was warm'));
  }
}

/** The first replacement comes at once; then the pause doubles. */
function backOffMs(failures: number): number {
  return failures <= 1 ? 0 : Math.min(firstBackOffMs * 2 ** (failures - 2), maxBackOffMs);
}
