import {
  type BulkJobOptions,
  createPostgresBackend,
  type Job,
  type JobsOptions,
  type JobType,
  type Processor,
  Queue,
  type QueueOptions,
  Worker,
  type WorkerOptions,
  withBackend,
} from 'bullmq';
import type { HookData, JobData, JobOutcome, ShardData, ShardOutcome } from './job.js';

/** What is used of a queue, whatever it is kept in. */
interface QueueOf<Data, Result> {
  readonly qualifiedName: string;
  /** Returns the entry, which may be one that was there before. */
  add(name: string, data: Data, options: JobsOptions): Promise<Pick<Job, 'id'>>;
  addBulk(jobs: { name: string; data: Data; opts: BulkJobOptions }[]): Promise<unknown>;
  getJob(id: string): Promise<Job<Data, Result> | undefined>;
  /** Those of a state, the first in line first. */
  getJobs(states: JobType[], start: number, end: number, ascending: boolean): Promise<Job<Data, Result>[]>;
  getJobCounts(...states: JobType[]): Promise<Readonly<Record<string, number>>>;
  close(): Promise<void>;
}

export type QueuedJob = Job<JobData, JobOutcome>;
export type QueuedShard = Job<ShardData, ShardOutcome>;

/** The queues on the queue server, which hold jobs, shards and web hooks, and no images. */
export interface Queues {
  readonly jobs: QueueOf<JobData, JobOutcome>;
  readonly shards: QueueOf<ShardData, ShardOutcome>;
  readonly hooks: QueueOf<HookData, unknown>;
  /** Works on one of the queues; it runs until it is closed. */
  work<Data, Result>(queue: QueueName, processor: Processor<Data, Result>, options: WorkOptions): QueueWorker;
  close(): Promise<void>;
}

export type QueueName = 'jobs' | 'shards' | 'hooks';
export interface QueueWorker {
  /** Waits for what is under way, unless it is forced. */
  close(force?: boolean): Promise<void>;
}
export type WorkOptions = Pick<
  WorkerOptions,
  'concurrency' | 'maxStalledCount' | 'lockDuration' | 'stalledInterval'
> & {
  readonly onFailed: (id: string | undefined, error: Error) => void;
  /** The worker of an entry has gone; it is taken again. */
  readonly onStalled: (id: string) => void;
};

/** Names of all keys on a Redis begin with it, and the schema in PostgreSQL. */
const namespace = 'pcm_caption';

/** Of a shard, and of what a job does itself. Twelve tries take an hour: a bucket or a disk may be mended meanwhile. */
export const stepOptions: JobsOptions = {
  attempts: 12,
  backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
  removeOnComplete: true,
  removeOnFail: true,
};
/** Fifteen tries of a web hook take more than a day. */
export const hookOptions: JobsOptions = {
  attempts: 15,
  backoff: { type: 'exponential', delay: 5000, jitter: 0.5 },
  removeOnComplete: { age: 86_400 },
  removeOnFail: { age: 604_800 },
};

/**
 * Connects to the queue server: Redis or Valkey (`redis:`, `rediss:`), or PostgreSQL (`postgres:`), where its tables are made
 * when they are missing. Does not wait until the server answers.
 *
 * @param onError hears of every connection that is lost
 */
export function openQueues(url: string, onError: (error: Error) => void): Queues {
  const { queues, startWorker } = /^rediss?:/.test(url) ? openRedis(url) : openPostgres(url);
  const { jobs, shards, hooks } = queues;
  for (const queue of [jobs, shards, hooks]) queue.on('error', onError);
  return {
    ...queues,
    work(queue, processor, { onFailed, onStalled, ...options }) {
      const worker = startWorker(queue, processor, options);
      worker.on('error', onError);
      worker.on('failed', (job, error) => {
        onFailed(job?.id, error);
      });
      worker.on('stalled', onStalled);
      return worker;
    },
    async close() {
      await Promise.all([jobs.close(), shards.close(), hooks.close()]);
    },
  };
}

function openRedis(url: string) {
  const common = { prefix: namespace };
  // Who adds a job is told at once that the server is away; a worker waits for it.
  const adding: QueueOptions = {
    ...common,
    connection: { url, maxRetriesPerRequest: 1, connectTimeout: 2000 },
    skipWaitingForReady: true,
  };
  return {
    queues: {
      jobs: new Queue<JobData, JobOutcome>('jobs', adding),
      shards: new Queue<ShardData, ShardOutcome>('shards', adding),
      hooks: new Queue<HookData>('hooks', adding),
    },
    startWorker: <Data, Result>(
      name: QueueName,
      processor: Processor<Data, Result>,
      options: Omit<WorkerOptions, 'connection'>,
    ) =>
      new Worker(name, processor, { ...common, connection: { url, maxRetriesPerRequest: null }, ...options }),
  };
}

function openPostgres(url: string) {
  const postgres = withBackend(createPostgresBackend);
  const options = { connection: { connectionString: url, schema: namespace, migrate: true, max: 2 } };
  return {
    queues: {
      jobs: new postgres.Queue<JobData, JobOutcome>('jobs', options),
      shards: new postgres.Queue<ShardData, ShardOutcome>('shards', options),
      hooks: new postgres.Queue<HookData>('hooks', options),
    },
    startWorker: <Data, Result>(
      name: QueueName,
      processor: Processor<Data, Result>,
      workerOptions: Omit<WorkerOptions, 'connection'>,
    ) => new postgres.Worker(name, processor, { ...workerOptions, ...options }),
  };
}
