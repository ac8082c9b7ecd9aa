import { ServiceError } from '../problem.js';
import type { BundleFacts } from '../runtime/bundle.js';
import type { LoadOrder, Placement, WorkItem } from '../runtime/messages.js';
import { Admission } from './admission.js';
import { BatchQueue, type Entry } from './batch-queue.js';
import type { ConceptCost } from './concept-cost.js';
import { deferred } from './deferred.js';
import { DrainRate } from './drain-rate.js';
import type { Engine, HeldReservation, Readiness, ReserveOptions } from './engine.js';
import type { EngineLoad, EngineMetrics } from './metrics.js';
import type { Submission } from './submission.js';
import { type Job, WorkerPool } from './worker-pool.js';
import type { EngineLogger, WarmUp, WorkerTimings } from './worker-process.js';

export interface EngineParts {
  readonly settings: {
    readonly maxBatchSize: number;
    readonly batchDelayMs: number;
    readonly maxQueueImages: number;
    readonly shutdownGraceMs: number;
  };
  readonly bundle: BundleFacts;
  readonly provider: string;
  readonly precision: string;
  /** One for each worker. */
  readonly orders: readonly LoadOrder[];
  /** One worker more, for an image that is alone. */
  readonly loneOrder?: LoadOrder | undefined;
  /** Workers that fit into the memory beside those of the engine before. */
  readonly workersAtFirst: number;
  readonly workerEntry: URL;
  readonly timings: WorkerTimings;
  readonly conceptCost: ConceptCost;
  readonly logger: EngineLogger;
  /** What this engine shares with the one before it and the one after it. */
  readonly shared: SharedParts;
}

/** What outlives one bundle. */
export interface SharedParts {
  readonly metrics: EngineMetrics;
  /** Places in use for all bundles together. */
  readonly placesUsed: () => number;
  /** Aborted when the start is not wanted any more. */
  readonly signal: AbortSignal;
  /** The engine that serves meanwhile: its processes, and when they have left. */
  readonly predecessor: { readonly processes: number; readonly left: Promise<unknown> } | undefined;
}

/** An engine for one bundle. */
export interface BundleEngine extends Omit<Engine, 'reserve'> {
  readonly load: EngineLoad;
  readonly processes: number;
  reserve(images: number, options: ReserveOptions): HeldReservation;
  /** Another engine admits from now on: finishes what this one has admitted, whatever time it has, then stops. */
  retire(): Promise<void>;
}

/** Joins queue, workers and metrics; resolves once the first workers are warm. Throws what WorkerPool.start throws. */
export async function startEngine(parts: EngineParts): Promise<BundleEngine> {
  const { settings, bundle, logger } = parts;
  const { metrics, placesUsed, signal, predecessor } = parts.shared;
  signal.throwIfAborted();
  const emptied = deferred<undefined>();
  let draining: Promise<void> | undefined;
  let dueTimer: NodeJS.Timeout | undefined;
  let wakeTimer: NodeJS.Immediate | undefined;

  const queue = new BatchQueue<Submission>({
    places: settings.maxQueueImages,
    placesElsewhere: (): number => placesUsed() - queue.placesUsed,
    delayMs: settings.batchDelayMs,
    now: () => performance.now(),
  });
  /** What workers have and have not begun, and how to spare them. */
  const handedOver = new Map<Entry<Submission>, () => void>();
  const pool = new WorkerPool({
    entry: parts.workerEntry,
    orders: parts.orders,
    loneOrder: parts.loneOrder,
    atFirst: predecessor && { workers: parts.workersAtFirst, roomForAll: predecessor.left },
    timings: parts.timings,
    logger,
    takeJob,
    takeNextJob: () => (queue.waitingCost < settings.maxBatchSize ? undefined : takeJob(1)),
    isAlone: () => queue.waitingCost === 1 && queue.placesUsed === 1,
    onRestart: (reason) => {
      metrics.workerRestarted(reason);
    },
  });

  /** The next batch as a job, a fair share of what waits when several workers are free. */
  function takeJob(idleWorkers: number): Job | undefined {
    const share = Math.ceil(queue.waitingCost / idleWorkers);
    // What is dropped here is answered by its own timer, late or not.
    const { batch, dropped, dueInMs } = queue.take(settings.maxBatchSize, share);
    if (dropped.length > 0) onFreed();
    clearTimeout(dueTimer);
    if (dueInMs !== undefined) {
      dueTimer = setTimeout(() => {
        pool.wake();
      }, dueInMs);
    }
    return batch.length === 0 ? undefined : jobOf(batch);
  }

  function jobOf(batch: readonly Entry<Submission>[]): Job {
    /** What was still wanted when the run began. */
    let run: readonly Entry<Submission>[] = [];
    return {
      items: batch.map(({ item }) => item.item),
      handedOver(drop) {
        for (const [index, entry] of batch.entries()) {
          handedOver.set(entry, () => {
            drop(index);
          });
        }
      },
      begun() {
        for (const entry of batch) handedOver.delete(entry);
        queue.begin(batch);
        run = batch.filter(({ item }) => !item.isAnswered);
        metrics.batchRuns(run.map(({ waitedMs }) => waitedMs));
      },
      answered(answers, elapsedMs) {
        const cost = run.reduce((sum, entry) => sum + entry.cost, 0);
        if (cost > 0) drainRate.record(cost, elapsedMs);
        for (const [index, entry] of batch.entries()) {
          queue.done(entry);
          const answer = answers[index] ?? { ok: false, code: 'internal', message: 'there is no answer' };
          const isFirst = entry.item.settle(answer, entry.waitedMs);
          if (answer.ok && isFirst) metrics.answered(answer.outcome);
          if (!answer.ok && isFirst && answer.code === 'internal')
            logger.error(`an image failed: ${answer.message}`);
        }
        onFreed();
      },
      returned() {
        for (const entry of batch) handedOver.delete(entry);
        queue.putBack(batch);
      },
      crashed() {
        for (const entry of batch) if (entry.item.isAnswered) queue.done(entry);
        for (const { item } of queue.putBackAfterCrash(batch)) {
          metrics.lost('crash', 1);
          item.fail(new ServiceError('image_crashes_model', 'the model crashes on this image'));
        }
        onFreed();
      },
    };
  }

  /** A worker is spared what it has not begun, and the place is free at once. */
  function onAnsweredEarly(entry: Entry<Submission>): void {
    const spare = handedOver.get(entry);
    if (spare === undefined) return;
    handedOver.delete(entry);
    spare();
    queue.done(entry);
    onFreed();
  }

  function onFreed(): void {
    if (draining !== undefined && queue.placesUsed === 0) emptied.resolve(undefined);
  }

  /** Images that come in one turn of the event loop, as those of a batch upload do, may share a batch. */
  function wakeSoon(): void {
    wakeTimer ??= setImmediate(() => {
      wakeTimer = undefined;
      pool.wake();
    });
  }

  function readiness(): Readiness {
    return draining === undefined ? pool.readiness : { ready: false, reason: 'draining' };
  }

  /** Waits until everything admitted is answered, or waiting is given up, and fails what is left. */
  async function finish(): Promise<void> {
    if (queue.placesUsed > 0) await emptied.promise;
    admission.failAll();
    await pool.stop();
  }

  async function drain(): Promise<void> {
    const grace = setTimeout(() => {
      emptied.resolve(undefined);
    }, settings.shutdownGraceMs);
    await (draining ??= finish());
    clearTimeout(grace);
  }

  const giveUp = (): void => void pool.stop();
  signal.addEventListener('abort', giveUp);
  const warmUps = await pool.start().finally(() => {
    signal.removeEventListener('abort', giveUp);
  });
  const drainRate = new DrainRate(settings.maxBatchSize, Math.max(...warmUps.map(({ largest }) => largest)));
  const model = {
    bundle,
    provider: parts.provider,
    devices: parts.provider === 'cpu' ? [] : parts.orders.map(({ device }) => device),
    placement: placementOf(warmUps),
    precision: parts.precision,
    servingSince: Date.now(),
  };
  const admission = new Admission({
    model,
    queue,
    places: settings.maxQueueImages,
    conceptCost: parts.conceptCost,
    groupKeyOf: groupKey,
    metrics,
    refusal() {
      if (draining !== undefined) return 'draining';
      return pool.readiness.ready ? undefined : 'not_ready';
    },
    retryAfterSeconds: () => drainRate.retryAfterSeconds(queue.placesUsed, pool.sharing),
    onWaiting: wakeSoon,
    onAnsweredEarly,
    onFreed,
  });

  return {
    ...model,
    get readiness() {
      return readiness();
    },
    processes: parts.orders.length + (parts.loneOrder === undefined ? 0 : 1),
    load: {
      waiting: () => queue.waitingCost,
      placesUsed: () => queue.placesUsed,
      workersReady: () => pool.ready,
    },
    reserve: (images, options) => admission.reserve(images, options),
    drain,
    retire: () => (draining ??= finish()),
  };
}

/** Devices may differ, and so may their measurements: the first worker's stands for all. */
function placementOf([first]: readonly WarmUp[]): Placement {
  if (first === undefined) throw new Error('an engine has no worker');
  return first.placement;
}

/** Images of one beam size share a batch, as it shapes the decoder's tensors; images to score need no decoder. */
function groupKey(item: WorkItem): string {
  return item.kind === 'caption' ? `caption:${item.options.beamSize}` : item.kind;
}
