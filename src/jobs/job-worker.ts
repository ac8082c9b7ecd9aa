import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from 'bullmq';
import pLimit from 'p-limit';
import type { Captioner } from '../captioner/captioner.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { Locations } from './locations.js';
import type { JobMetrics } from './metrics.js';
import type { QueuedJob, QueuedShard, Queues, WorkOptions } from './queues.js';
import { runJob } from './run-job.js';
import { type ItemRetry, itemRetry, runShard } from './run-shard.js';
import type { HookData } from './job.js';
import { type HookDeps, sendHook } from './web-hooks.js';

export interface JobWorkerDeps {
  readonly queues: Queues;
  readonly captioner: Pick<Captioner, 'caption'>;
  readonly scheduler: Pick<Scheduler, 'admit' | 'model'>;
  readonly locations: Locations;
  readonly hooks: HookDeps | undefined;
  readonly maxImageBytes: number;
  readonly shardImages: number;
  /** Images under way at once. */
  readonly concurrency: number;
  readonly logger: JobLogger;
  readonly metrics: JobMetrics;
  readonly retry?: ItemRetry;
  /** Time after which the work of a worker that has died is taken by others; for tests, which do not wait for a minute. */
  readonly lockMs?: number;
}

export interface JobLogger {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

export interface JobWorker {
  /**
   * Takes nothing new, and finishes the shards under way. After the grace they are left to other workers.
   *
   * @returns false when the queue server was not told, and connections are left open
   */
  close(graceMs: number): Promise<boolean>;
}

/** While the last images of one shard are captioned, those of the next one fill the batches. */
const shardsAtOnce = 2;
const jobsAtOnce = 4;
const hooksAtOnce = 4;
/** A shard that ends its worker each time is given up; a restart of all machines now and then is not its fault. */
const maxStalledCount = 20;
const defaultLockMs = 30_000;
/** A queue server that takes longer to hear that a step is done is away; it will have it done again. */
const maxTellMs = 3000;

/** Takes work from the queues until it is closed. */
export function startJobWorker(deps: JobWorkerDeps): JobWorker {
  const { queues, logger, lockMs = defaultLockMs } = deps;
  const shardDeps = {
    ...deps,
    limit: pLimit(deps.concurrency),
    retry: deps.retry ?? itemRetry,
    onWritten: deps.metrics.written,
    onUnexpected: (error: unknown) => {
      logger.error({ err: error }, 'unexpected error');
    },
  };
  const options = (concurrency: number): WorkOptions => ({
    concurrency,
    maxStalledCount,
    lockDuration: lockMs,
    stalledInterval: lockMs,
    onFailed: (id, { message }) => {
      logger.warn({ id, reason: message }, 'a step of a job failed');
    },
    onStalled: (id) => {
      logger.warn({ id }, 'a worker has left a step of a job; it is done again');
    },
  });
  const underWay = new Set<Promise<unknown>>();
  const track = <T>(step: Promise<T>): Promise<T> => {
    const forget = () => void underWay.delete(step);
    step.then(forget, forget);
    underWay.add(step);
    return step;
  };
  const workers = [
    queues.work('jobs', (job: QueuedJob, token = '') => track(runJob(job, token, deps)), options(jobsAtOnce)),
    queues.work('shards', (shard: QueuedShard) => track(runShard(shard, shardDeps)), options(shardsAtOnce)),
  ];
  const { hooks } = deps;
  if (hooks !== undefined) {
    workers.push(
      queues.work('hooks', (hook: Job<HookData>) => track(sendHook(hook, hooks)), options(hooksAtOnce)),
    );
  }
  return {
    async close(graceMs) {
      const closed = Promise.all(workers.map((worker) => worker.close())).then(() => true);
      // The library waits for a queue server that is away as long as that takes.
      const done = Promise.allSettled(underWay).then(() => sleep(maxTellMs, false, { ref: false }));
      return Promise.race([closed, done, sleep(graceMs, false, { ref: false })]);
    },
  };
}
