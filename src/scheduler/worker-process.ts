import type { BaseLogger } from 'pino';
import {
  isMessageFromWorker,
  type ItemAnswer,
  type LoadCommand,
  type MessageFromWorker,
  type MessageToWorker,
  type Placement,
  type WorkItem,
} from '../inference/messages.js';
import { startChild } from '../child-process.js';
import { inferenceProcessOptions } from '../memory-tuning.js';
import type { RestartReason } from './metrics.js';
import { type Deferred, deferred } from '../promises.js';

export type EngineLogger = Pick<BaseLogger, 'debug' | 'info' | 'warn' | 'error'>;

export interface WorkerTimings {
  /** A process that is not warm after this is killed. */
  readonly startTimeoutMs: number;
  /** A warm process that is silent for this long is killed; more when its warm-up was slow. */
  readonly hangTimeoutMs: number;
  /** A process that should leave gets this long. */
  readonly stopTimeoutMs: number;
}

export interface WarmUp {
  /** Milliseconds of a run with one image, and with the largest batch. */
  readonly single: number;
  readonly largest: number;
  readonly placement: Placement;
}

/** Loading failed in a way that a message explains. */
export class WorkerRefused extends Error {
  override readonly name = 'WorkerRefused';
}

/** The process ended without being asked to. */
export class WorkerDied extends Error {
  override readonly name = 'WorkerDied';
  constructor(
    readonly reason: RestartReason,
    message: string,
  ) {
    super(message);
  }
}

export interface WorkerProcess {
  readonly pid: number | undefined;
  /** Resolves once warm. Rejects with WorkerRefused or WorkerDied. */
  readonly ready: Promise<WarmUp>;
  /** Resolves with how it ended, once the process has gone. */
  readonly ended: Promise<WorkerDied>;
  /** Hands a batch over, to run after those that were handed over before; `onStarted` is called when it begins. */
  run(items: readonly WorkItem[], onStarted: () => void): Run;
  /** Lets the process leave, and kills it when it does not. */
  stop(): Promise<void>;
}

/** A batch that was handed to a process. */
export interface Run {
  /** In the items' order. Rejects with WorkerDied. */
  readonly answers: Promise<readonly ItemAnswer[]>;
  /** Keeps the process from running an item that nobody waits for any more; without effect once the run has begun. */
  readonly skip: (index: number) => void;
}

/** A run may take this many times as long as the warm-up's largest batch before it counts as hanging. */
const maxRunFactor = 10;

export function startWorker(
  entry: URL,
  order: LoadCommand,
  timings: WorkerTimings,
  logger: EngineLogger,
): WorkerProcess {
  const child = startChild(entry, inferenceProcessOptions(), (line, pid) => {
    logger.warn({ worker: pid }, line);
  });
  const ready = deferred<WarmUp>();
  const handedOver = new Map<number, { onStarted: () => void; answers: Deferred<readonly ItemAnswer[]> }>();
  let nextBatchId = 0;
  let killedFor: WorkerDied | undefined;

  function kill(reason: RestartReason, message: string): void {
    killedFor ??= new WorkerDied(reason, message);
    child.process.kill('SIGKILL'); // ends a stopped process too
  }
  const startTimer = setTimeout(() => {
    kill('start', `was not warm within ${timings.startTimeoutMs} ms`);
  }, timings.startTimeoutMs);
  const watchdog = new Watchdog(order.heartbeatMs, (silentMs) => {
    kill('hang', `gave no sign of life for ${silentMs} ms`);
  });

  function receive(message: MessageFromWorker): void {
    watchdog.feed();
    switch (message.type) {
      case 'heartbeat':
        break;
      case 'ready':
        clearTimeout(startTimer);
        watchdog.watch(Math.max(timings.hangTimeoutMs, maxRunFactor * message.warmUpMs.largest));
        ready.resolve({ ...message.warmUpMs, placement: message.placement });
        break;
      case 'refused':
        ready.reject(new WorkerRefused(message.message));
        break;
      case 'started':
        handedOver.get(message.batchId)?.onStarted();
        break;
      case 'answers':
        handedOver.get(message.batchId)?.answers.resolve(message.answers);
        handedOver.delete(message.batchId);
    }
  }
  child.process.on('message', (message: unknown) => {
    if (isMessageFromWorker(message)) receive(message);
    else kill('crash', 'sent a message of an unknown kind');
  });

  const ended = child.ended.then((end) => {
    clearTimeout(startTimer);
    watchdog.stop();
    const died = killedFor ?? new WorkerDied('crash', end);
    ready.reject(died);
    for (const { answers } of handedOver.values()) answers.reject(died);
    handedOver.clear();
    return died;
  });
  // A worker that nobody waits for may die too.
  ready.promise.catch(() => undefined);

  const send = (message: MessageToWorker): void => {
    child.send(message);
  };
  send(order);

  return {
    pid: child.process.pid,
    ready: ready.promise,
    ended,
    run(items, onStarted) {
      const batchId = nextBatchId++;
      const answers = deferred<readonly ItemAnswer[]>();
      handedOver.set(batchId, { onStarted, answers });
      send({ type: 'batch', batchId, items });
      return {
        answers: answers.promise,
        skip(index) {
          send({ type: 'drop', batchId, index });
        },
      };
    },
    async stop() {
      const timer = setTimeout(() => child.process.kill('SIGKILL'), timings.stopTimeoutMs);
      if (child.process.connected) child.process.disconnect();
      await ended;
      clearTimeout(timer);
    },
  };
}

/**
 * Counts beats without a sign of life. Beats, not time: when this very process was suspended or blocked, the worker's
 * signs are still unread, and it must not die for that.
 */
export class Watchdog {
  #silentBeats = 0;
  #limitMs = Infinity;
  readonly #timer: NodeJS.Timeout;

  /**
   * @param beatMs milliseconds between two beats, as long as between two heartbeats
   * @param onSilence called at every beat once the limit is passed
   */
  constructor(beatMs: number, onSilence: (silentMs: number) => void) {
    this.#timer = setInterval(() => {
      this.#silentBeats += 1;
      const silentMs = this.#silentBeats * beatMs;
      if (silentMs > this.#limitMs) onSilence(silentMs);
    }, beatMs);
    this.#timer.unref();
  }

  /** A sign of life came. */
  feed(): void {
    this.#silentBeats = 0;
  }

  /** Starts to mind silence; before, loading may be silent for long. */
  watch(limitMs: number): void {
    this.#limitMs = limitMs;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
