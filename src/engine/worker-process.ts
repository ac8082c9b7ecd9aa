import { type ChildProcess, fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BaseLogger } from 'pino';
import {
  isMessageFromWorker,
  type ItemAnswer,
  type LoadOrder,
  type MessageFromWorker,
  type MessageToWorker,
  type Placement,
  type WorkItem,
} from '../runtime/messages.js';
import { type Deferred, deferred } from './deferred.js';
import { inferenceProcess } from './inference-process.js';
import type { RestartReason } from './metrics.js';
import { Watchdog } from './watchdog.js';

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
  /** Spares the process an item whose answer is not wanted any more; without effect once the run has begun. */
  readonly drop: (index: number) => void;
}

/** A run may take this many times as long as the warm-up's largest batch before it counts as hanging. */
const slowestRun = 10;

export function startWorker(
  entry: URL,
  order: LoadOrder,
  timings: WorkerTimings,
  logger: EngineLogger,
): WorkerProcess {
  const child = fork(fileURLToPath(entry), {
    serialization: 'advanced', // pixels travel as they are, not as JSON
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    ...inferenceProcess(),
  });
  logLines(child, logger);

  const ready = deferred<WarmUp>();
  const handedOver = new Map<number, { onStarted: () => void; answers: Deferred<readonly ItemAnswer[]> }>();
  let nextBatchId = 0;
  let killedFor: WorkerDied | undefined;

  function kill(reason: RestartReason, message: string): void {
    killedFor ??= new WorkerDied(reason, message);
    child.kill('SIGKILL'); // ends a stopped process too
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
        watchdog.watch(Math.max(timings.hangTimeoutMs, slowestRun * message.warmUpMs.largest));
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
  child.on('message', (message: unknown) => {
    if (isMessageFromWorker(message)) receive(message);
    else kill('crash', 'sent a message of an unknown kind');
  });

  const ended = waitForEnd(child).then((end) => {
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

  function send(message: MessageToWorker): void {
    // A process that cannot be written to is about to end, and `ended` tells.
    child.send(message, () => undefined);
  }
  send(order);

  return {
    pid: child.pid,
    ready: ready.promise,
    ended,
    run(items, onStarted) {
      const batchId = nextBatchId++;
      const answers = deferred<readonly ItemAnswer[]>();
      handedOver.set(batchId, { onStarted, answers });
      send({ type: 'batch', batchId, items });
      return {
        answers: answers.promise,
        drop(index) {
          send({ type: 'drop', batchId, index });
        },
      };
    },
    async stop() {
      const timer = setTimeout(() => child.kill('SIGKILL'), timings.stopTimeoutMs);
      if (child.connected) child.disconnect();
      await ended;
      clearTimeout(timer);
    },
  };
}

/** How the process ended. Its last messages have been received by then: they may come after its exit. */
async function waitForEnd(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    const disconnected = new Promise((done) => child.once('disconnect', done));
    child.once('error', (error) => {
      resolve(`could not be started: ${error.message}`);
    });
    child.once('exit', (code, signal) => {
      const how = signal === null ? `ended with exit code ${String(code)}` : `ended by ${signal}`;
      if (!child.connected) resolve(how);
      else
        void disconnected.then(() => {
          resolve(how);
        });
    });
  });
}

/** ONNX Runtime and Node write what went wrong in a crash to the standard streams. */
function logLines(child: ChildProcess, logger: EngineLogger): void {
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface(stream).on('line', (line) => {
      logger.warn({ worker: child.pid }, line);
    });
  }
}
