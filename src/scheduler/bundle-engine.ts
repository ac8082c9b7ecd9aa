import type { BundleFacts } from '../inference/bundle.js';
import type {
  CaptionItem,
  CaptionOutcome,
  LoadCommand,
  Placement,
  ScoreItem,
  ScoreOutcome,
  WorkItem,
} from '../inference/messages.js';
import { dropReasonOf, type EngineMetrics } from './metrics.js';
import type { Answered, Model, RunRequest } from './model.js';
import type { Readiness } from './scheduler.js';
import { PendingImages } from './pending-images.js';
import { Permit, type Slots, Admission, DrainRate } from './permit.js';
import { type Job, WorkerPool } from './worker-pool.js';
import type { EngineLogger, WarmUp, WorkerTimings } from './worker-process.js';
import { abortError, deferred } from '../promises.js';
import { LRUCache } from 'lru-cache';

export interface BundleEngineOptions {
  readonly maxBatchSize: number;
  readonly batchDelayMs: number;
  readonly shutdownGraceMs: number;
  readonly bundle: BundleFacts;
  readonly provider: string;
  readonly precision: string;
  /** One for each worker. */
  readonly loadCommands: readonly LoadCommand[];
  /** For one more worker, which takes an image that is alone in the service. */
  readonly lowLatencyCommand?: LoadCommand | undefined;
  /** Workers that fit into the memory beside those of the predecessor. */
  readonly maxFirstWorkers: number;
  readonly workerEntry: URL;
  readonly timings: WorkerTimings;
  readonly conceptCost: ConceptCost;
  readonly logger: EngineLogger;
  readonly shared: SharedParts;
}

/** What the engines of successive bundles share. */
export interface SharedParts {
  readonly slots: Slots;
  readonly metrics: EngineMetrics;
  /** Aborted when the start is not wanted any more. */
  readonly signal: AbortSignal;
  /** The engine that serves meanwhile: its number of processes, and when they have left. */
  readonly predecessor: { readonly processes: number; readonly left: Promise<unknown> } | undefined;
}

/** One bundle with its queue and its inference processes. */
export class BundleEngine implements Model {
  readonly bundle: BundleFacts;
  readonly provider: string;
  readonly precision: string;
  readonly devices: readonly number[];
  readonly placement: Placement;
  readonly servingSince = Date.now();
  /** Inference processes that this engine keeps alive. */
  readonly processes: number;

  readonly #options: BundleEngineOptions;
  readonly #pool: WorkerPool;
  readonly #admission: Admission;
  readonly #images: PendingImages;
  readonly #emptied = deferred<undefined>();
  #draining: Promise<void> | undefined;
  #isStopped = false;
  #dueTimer: NodeJS.Timeout | undefined;
  #wakeTimer: NodeJS.Immediate | undefined;

  /** Resolves once the first workers are warm. @throws what WorkerPool.start throws */
  static async start(options: BundleEngineOptions): Promise<BundleEngine> {
    const { signal, predecessor, metrics } = options.shared;
    signal.throwIfAborted();
    let engine: BundleEngine | undefined;
    const pool = new WorkerPool({
      entry: options.workerEntry,
      loadCommands: options.loadCommands,
      lowLatencyCommand: options.lowLatencyCommand,
      atFirst: predecessor && { workers: options.maxFirstWorkers, roomForAll: predecessor.left },
      timings: options.timings,
      logger: options.logger,
      takeJob: (idleWorkers) => (engine === undefined ? undefined : engine.#takeJob(idleWorkers)),
      takeNextJob: () =>
        engine === undefined || engine.#images.runnableCost < options.maxBatchSize
          ? undefined
          : engine.#takeJob(1),
      isAlone: () => engine?.waiting === 1 && options.shared.slots.used === 1,
      onRestart: (reason) => {
        metrics.workerRestarted(reason);
      },
    });
    const stop = (): void => void pool.stop();
    signal.addEventListener('abort', stop);
    try {
      engine = new BundleEngine(options, pool, await pool.start());
      return engine;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  private constructor(options: BundleEngineOptions, pool: WorkerPool, warmUps: readonly WarmUp[]) {
    this.#options = options;
    this.#pool = pool;
    this.bundle = options.bundle;
    this.provider = options.provider;
    this.precision = options.precision;
    this.devices = options.provider === 'cpu' ? [] : options.loadCommands.map(({ device }) => device);
    this.placement = placementOf(warmUps);
    this.processes = options.loadCommands.length + (options.lowLatencyCommand === undefined ? 0 : 1);
    const slowest = Math.max(...warmUps.map(({ largest }) => largest));
    const drainRate = new DrainRate(options.maxBatchSize, slowest);
    const { slots, metrics } = options.shared;
    this.#admission = new Admission({
      slots,
      metrics,
      refusal: () => {
        if (this.#draining !== undefined) return 'draining';
        return pool.readiness.ready ? undefined : 'not_ready';
      },
      retryAfterSeconds: () => drainRate.retryAfterSeconds(slots.used, pool.sharing),
      onFreed: () => {
        this.#noticeEmptied();
      },
    });
    this.#images = new PendingImages({
      queue: { delayMs: options.batchDelayMs, now: () => performance.now() },
      slots: this.#admission,
      drainRate,
      metrics,
      logger: options.logger,
    });
  }

  get readiness(): Readiness {
    return this.#draining === undefined ? this.#pool.readiness : { ready: false, reason: 'draining' };
  }

  /** Cost of the images that wait for a worker. */
  get waiting(): number {
    return this.#images.waitingCost;
  }

  get pids(): number[] {
    return this.#pool.pids;
  }

  get workersReady(): number {
    return this.#pool.ready;
  }

  /** See Scheduler.admit. */
  admit(slots: number): Permit {
    return Permit.take(this.#admission, this, slots);
  }

  run(item: CaptionItem, request: RunRequest): Promise<Answered<CaptionOutcome>>;
  run(item: ScoreItem, request: RunRequest): Promise<Answered<ScoreOutcome>>;
  run(item: WorkItem, request: RunRequest): Promise<Answered>;
  async run(item: WorkItem, request: RunRequest): Promise<Answered> {
    const { slots, metrics } = this.#options.shared;
    if (request.signal.aborted) {
      metrics.dropped(dropReasonOf(request.signal), 1);
      throw abortError(request.signal);
    }
    if (this.#isStopped) throw this.#admission.refuse('draining', 1);
    // An empty queue takes an image with however many texts.
    const textSlots = Math.min(this.#textCostOf(item), slots.max - 1);
    if (!this.#admission.tryTake(textSlots)) throw this.#admission.refuse('queue_full', 1);
    this.#wakeSoon();
    return this.#images.run(item, textSlots, request);
  }

  /** Admits nothing more, finishes what was admitted within the grace, then stops the workers. Idempotent. */
  async drain(): Promise<void> {
    const grace = setTimeout(() => {
      this.#emptied.resolve(undefined);
    }, this.#options.shutdownGraceMs);
    await this.retire();
    clearTimeout(grace);
  }

  /** Finishes what this engine has admitted, whatever time it takes, while another engine serves. Idempotent. */
  retire(): Promise<void> {
    return (this.#draining ??= this.#finish());
  }

  async #finish(): Promise<void> {
    // `drain` gives up waiting when its grace is over.
    if (this.#hasWork()) await this.#emptied.promise;
    this.#isStopped = true;
    this.#images.dropAll();
    clearTimeout(this.#dueTimer);
    await this.#pool.stop();
    // What a worker had in hand when it was stopped was put back.
    this.#images.dropAll();
  }

  /** The next batch as a job: a fair share of what waits when several workers are idle. */
  #takeJob(idleWorkers: number): Job | undefined {
    const share = Math.ceil(this.waiting / idleWorkers);
    const { job, dueInMs } = this.#images.take(this.#options.maxBatchSize, share);
    clearTimeout(this.#dueTimer);
    if (dueInMs !== undefined) {
      this.#dueTimer = setTimeout(() => {
        this.#pool.wake();
      }, dueInMs);
    }
    return job;
  }

  /** Cost of the texts that are embedded beside the image, in images. */
  #textCostOf(item: WorkItem): number {
    switch (item.kind) {
      case 'caption':
        return this.#options.conceptCost.of(item.options.concepts);
      case 'score':
        return textCost(item.texts);
      case 'embed-texts':
        // The permit's own slot pays for the first texts.
        return textCost(item.texts) - 1;
      case 'embed-image':
        return 0;
    }
  }

  #hasWork(): boolean {
    return this.#admission.used > 0 || this.#images.size > 0;
  }

  #noticeEmptied(): void {
    if (this.#draining !== undefined && !this.#hasWork()) this.#emptied.resolve(undefined);
  }

  /** Wakes the workers after this turn of the event loop, so that the images of a batch upload may share a batch. */
  #wakeSoon(): void {
    if (this.#wakeTimer !== undefined) return;
    this.#wakeTimer = setImmediate(() => {
      this.#wakeTimer = undefined;
      this.#pool.wake();
    });
  }
}

/** Devices may differ, and so may their measurements: the first worker's stands for all. */
function placementOf([first]: readonly WarmUp[]): Placement {
  if (first === undefined) throw new Error('an engine has no worker');
  return first.placement;
}

/** Letters of texts that the text encoder embeds in about the time one image takes (measured on CPUs). */
const lettersPerImage = 512;
/** A text costs as much as these letters beside its own: what a prompt adds, and the run. */
const lettersPerText = 8;
/** Longer texts are cut by the text encoder. */
const maxLetters = 128;

/**
 * What a client's own concepts cost, in images: each new word is embedded with each of the bundle's prompts. Words
 * seen before are free, as the inference process has them in a cache of the same size. It is an estimate: a process
 * that was replaced has an empty cache.
 */
export class ConceptCost {
  readonly #seen: LRUCache<string, true>;
  readonly #prompts: number;

  constructor(options: { prompts: number; cacheSize: number }) {
    this.#prompts = options.prompts;
    this.#seen = new LRUCache({ max: options.cacheSize });
  }

  /** Slots that these words take beside that of the image. */
  of(concepts: readonly string[]): number {
    const unseen = concepts.filter((word) => !this.#seen.has(word));
    for (const word of concepts) this.#seen.set(word, true);
    return textCost(unseen, this.#prompts);
  }
}

/** What embedding texts costs, each as often as said, in images. */
export function textCost(texts: readonly string[], times = 1): number {
  const letters = texts.reduce((sum, text) => sum + lettersPerText + Math.min(text.length, maxLetters), 0);
  return Math.ceil((letters * times) / lettersPerImage);
}
