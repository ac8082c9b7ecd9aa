import { UnrecoverableError } from 'bullmq';
import type { LimitFunction } from 'p-limit';
import pRetry from 'p-retry';
import type { Captioner } from '../captioner/captioner.js';
import { parseCaptionOptions, type CaptionOptions } from '../captioner/options.js';
import { ServiceError } from '../errors.js';
import { readObject } from '../library/storage.js';
import { abortError, deadlineExceeded } from '../promises.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import { type JobData, type JobResult, type Problem, problemOf, type ShardOutcome } from './job.js';
import { isWebAddress, type Locations } from './locations.js';
import { hasMembers, JobOutput } from './output.js';
import type { QueuedShard, Queues } from './queues.js';
import { isOfTheWorker, isPermanent, isTransient } from './transient.js';

export interface RunShardDeps {
  readonly queues: Pick<Queues, 'jobs'>;
  readonly captioner: Pick<Captioner, 'caption'>;
  readonly scheduler: Pick<Scheduler, 'admit' | 'model'>;
  readonly locations: Locations;
  /** Bytes of an image file, at most. */
  readonly maxImageBytes: number;
  /** Lets as many images of all shards run at once as keep the inference processes busy. */
  readonly limit: LimitFunction;
  readonly retry: ItemRetry;
  readonly onWritten: (outcome: ShardOutcome) => void;
  /** Hears of errors that nobody expected. */
  readonly onUnexpected: (error: unknown) => void;
}

/** How often an image is tried again after a transient error, and how long the first wait is. */
export interface ItemRetry {
  readonly retries: number;
  readonly minTimeout: number;
}

/** Together about two minutes: a server that restarts is back by then. */
export const itemRetry: ItemRetry = { retries: 6, minTimeout: 1000 };
/** What no image should take, however many single images go before it. */
const imageTimeoutMs = 600_000;
/** How soon a worker notices that a job is stopped. */
const stopCheckMs = 1000;

class Stopped extends Error {
  override readonly name = 'Stopped';
}

/**
 * Captions the images of a shard and writes their results at once, under the name of the shard: a shard that is run again, since
 * its worker died, ends with the same one part. What goes wrong with an image is its own result.
 */
export async function runShard(shard: QueuedShard, deps: RunShardDeps): Promise<ShardOutcome> {
  const { index, job: id } = shard.data;
  const nothing = { index, captioned: 0, failed: 0, stopped: true } as const;
  const data = await activeJob(id, deps);
  if (data === undefined) return nothing;
  const stopping = new AbortController();
  const timer = setInterval(() => {
    // A queue server that is away says nothing; the shard goes on.
    activeJob(id, deps).then(
      (found) => {
        if (found === undefined) stopping.abort(new Stopped());
      },
      () => undefined,
    );
  }, stopCheckMs);
  try {
    return await captionShard(shard, data, stopping.signal, deps);
  } catch (error) {
    if (stopping.signal.reason instanceof Stopped) return nothing;
    throw isPermanent(error) && error instanceof Error ? new UnrecoverableError(error.message) : error;
  } finally {
    clearInterval(timer);
  }
}

/** The job of a shard, unless it is stopped or gone. */
async function activeJob(id: string, { queues }: RunShardDeps): Promise<JobData | undefined> {
  const data = (await queues.jobs.getJob(id))?.data;
  return data?.stopped === undefined ? data : undefined;
}

async function captionShard(
  shard: QueuedShard,
  data: JobData,
  signal: AbortSignal,
  deps: RunShardDeps,
): Promise<ShardOutcome> {
  const { index } = shard.data;
  const output = new JobOutput(data.output);
  const written = await output.readPart(index, signal);
  if (written !== undefined)
    return countResults(
      index,
      written.map((line): unknown => JSON.parse(line)),
    );
  const names = await output.readList(index, signal);
  const { maxLength } = deps.scheduler.model.bundle.decoding;
  const options = parseCaptionOptions({ texts: [], members: data.options }, maxLength);
  const first = index * (await shardImages(shard, deps));
  const ask = { options, client: data.owner, signal };
  const answers = await Promise.all(names.map((source) => deps.limit(() => answerImage(source, ask, deps))));
  signal.throwIfAborted();
  // After the last try, too: the job fails with it, and the same order goes on once it is mended.
  const blameless = answers.find((answer) => 'error' in answer && isOfTheWorker(answer.error));
  if (blameless !== undefined && 'error' in blameless) throw blameless.error;
  const results = answers.map((answer, place): JobResult => {
    const named = { index: first + place, source: names[place] ?? '' };
    return 'error' in answer ? { ...named, error: problem(answer.error, deps) } : { ...named, ...answer };
  });
  await output.writePart(index, results);
  const outcome = countResults(index, results);
  deps.onWritten(outcome);
  return outcome;
}

async function shardImages(shard: QueuedShard, { queues }: RunShardDeps): Promise<number> {
  const progress = (await queues.jobs.getJob(shard.data.job))?.progress;
  if (hasMembers(progress, 'shardImages')) return Number(progress['shardImages']);
  throw new Error('a shard was added before its job was planned');
}

function countResults(index: number, results: readonly unknown[]): ShardOutcome {
  const failed = results.filter((result) => hasMembers(result, 'error')).length;
  return { index, captioned: results.length - failed, failed };
}

interface Ask {
  readonly options: CaptionOptions;
  readonly client: string;
  readonly signal: AbortSignal;
}

type Answer = { readonly result: Awaited<ReturnType<Captioner['caption']>> } | { readonly error: unknown };

/** Captions an image, again and again while what goes wrong may pass. Never rejects. */
async function answerImage(source: string, ask: Ask, deps: RunShardDeps): Promise<Answer> {
  try {
    const result = await pRetry(() => captionImage(source, ask, deps), {
      ...deps.retry,
      maxTimeout: 60_000,
      randomize: true,
      signal: ask.signal,
      shouldRetry: ({ error }) => isTransient(error),
    });
    return { result };
  } catch (error) {
    return { error };
  }
}

async function captionImage(name: string, { options, client, signal }: Ask, deps: RunShardDeps) {
  const timeout = new AbortController();
  const timer = setTimeout(() => {
    timeout.abort(deadlineExceeded());
  }, imageTimeoutMs);
  const both = AbortSignal.any([signal, timeout.signal]);
  try {
    const source = isWebAddress(name)
      ? ({ kind: 'url', url: name } as const)
      : ({ kind: 'bytes', bytes: await readImage(name, both, deps) } as const);
    const permit = deps.scheduler.admit(1);
    try {
      const context = {
        permit,
        priority: 'batch',
        signal: both,
        client,
        startedAt: performance.now(),
      } as const;
      return await deps.captioner.caption(source, options, context);
    } finally {
      permit.release();
    }
  } catch (error) {
    throw timeout.signal.aborted ? abortError(timeout.signal) : error;
  } finally {
    clearTimeout(timer);
  }
}

/** The list may have been written by a worker with other settings: what may be read is asked here again. */
async function readImage(name: string, signal: AbortSignal, deps: RunShardDeps): Promise<Buffer> {
  return readObject(await deps.locations.resolve(name), { maxBytes: deps.maxImageBytes, signal });
}

function problem(error: unknown, { onUnexpected }: RunShardDeps): Problem {
  if (!(error instanceof ServiceError)) onUnexpected(error);
  return problemOf(error);
}
