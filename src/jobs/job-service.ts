import { createHash, randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { ServiceError } from '../errors.js';
import { fingerprintOf, type JobData, type JobOrder } from './job.js';
import { hasMembers, JobOutput } from './output.js';
import type { JobDocument } from './job.js';
import { type JobView, viewJob } from './progress.js';
import { stepOptions, type Queues } from './queues.js';

export interface Submitted {
  readonly document: JobDocument;
  /** False when the same key has made the job before, or the same order has one that has not ended. */
  readonly isNew: boolean;
}

/** A page of results, as lines of JSON. */
export interface ResultPage {
  readonly lines: readonly string[];
  /** Where the next page begins; absent at the end. While a job runs it may be where this page began. */
  readonly next?: number;
}

/** What clients ask of jobs. A job that belongs to another API key is not there for them. */
export interface JobService {
  /** @throws ServiceError output_in_use | idempotency_key_reused | queue_unavailable | of writing to the output */
  submit(order: JobOrder, owner: string, key: string | undefined): Promise<Submitted>;
  /** @throws ServiceError not_found | queue_unavailable; so do the others */
  find(id: string, owner: string): Promise<JobView>;
  /** Idempotent; a job that has ended stays as it is. */
  cancel(id: string, owner: string): Promise<JobDocument>;
  /**
   * Results in the order of the images, as far as they are there.
   *
   * @param start index of the first image
   */
  readPage(view: JobView, query: { readonly start: number; readonly limit: number }): Promise<ResultPage>;
  /** The same of images that failed only. */
  readFailures(view: JobView, query: { readonly start: number; readonly limit: number }): Promise<ResultPage>;
  /** All results that are there, a part after the other. */
  readAll(view: JobView): AsyncGenerator<string>;
}

/** @param keepMs how long a job is remembered after its end */
export function createJobService({ jobs }: Queues, keepMs: number): JobService {
  async function find(id: string, owner: string): Promise<JobView> {
    const job = await reached(jobs.getJob(id));
    if (job?.data.owner !== owner) throw new ServiceError('not_found', 'There is no such job.');
    return reached(viewJob(job));
  }

  async function readResults(
    { data, plan, done, hasEnded }: JobView,
    { start, limit, failedOnly }: { start: number; limit: number; failedOnly: boolean },
  ): Promise<ResultPage> {
    if (plan === undefined) return hasEnded ? { lines: [] } : { lines: [], next: start };
    const output = new JobOutput(data.output);
    const lines: string[] = [];
    for (let shard = Math.floor(start / plan.shardImages); shard < plan.shards; shard++) {
      const outcome = done.get(shard);
      const first = shard * plan.shardImages;
      if (outcome === undefined) {
        if (hasEnded) continue;
        return { lines, next: Math.max(start, first) };
      }
      if (failedOnly && outcome.failed === 0) continue;
      const part = (await output.readPart(shard)) ?? [];
      for (const [place, line] of part.entries()) {
        if (first + place < start || (failedOnly && !isFailure(line))) continue;
        if (lines.length === limit) return { lines, next: first + place };
        lines.push(line);
      }
    }
    return { lines };
  }

  return {
    async submit(order, owner, key) {
      const id = key === undefined ? randomUUID() : idOf(owner, key);
      const { output: name, options, webhook } = order;
      const fingerprint = fingerprintOf(order);
      const data: JobData = {
        output: name,
        options,
        owner,
        fingerprint,
        ...(webhook !== undefined && { webhook }),
      };
      const known = await reached(jobs.getJob(id));
      let made = id;
      if (known === undefined) {
        const output = new JobOutput(name);
        const other = await output.readOrder();
        if (other !== undefined && other.fingerprint !== fingerprint) {
          throw new ServiceError('output_in_use', 'The output holds the results of another order.');
        }
        await output.writeOrder({ fingerprint, source: order.source });
        const keep = { age: Math.ceil(keepMs / 1000) };
        const added = await reached(
          jobs.add('job', data, {
            ...stepOptions,
            removeOnComplete: keep,
            removeOnFail: keep,
            jobId: id,
            // Until a job has ended it is the only one of its output: two would mix what they list there.
            deduplication: { id: hashOf(name) },
          }),
        );
        made = added.id ?? id;
      }
      // Whoever was first with this key, or this output, has made the job.
      const job = known ?? (await reached(jobs.getJob(made)));
      if (job === undefined) throw new ServiceError('queue_unavailable', 'The queue server lost the job.');
      const isSame = isDeepStrictEqual({ ...job.data, stopped: undefined }, { ...data, stopped: undefined });
      if (made !== id && (!isSame || job.data.stopped !== undefined)) {
        throw new ServiceError('output_in_use', 'A job that has not ended yet writes to this output.');
      }
      if (!isSame) {
        throw new ServiceError('idempotency_key_reused', 'This Idempotency-Key was sent with another order.');
      }
      return { document: (await reached(viewJob(job))).document, isNew: known === undefined && made === id };
    },

    find,

    async cancel(id, owner) {
      const { hasEnded, document } = await find(id, owner);
      const job = hasEnded ? undefined : await reached(jobs.getJob(id));
      if (job === undefined) return document;
      if (job.data.stopped === undefined) {
        await reached(job.updateData({ ...job.data, stopped: 'cancelled' }));
      }
      // Shards that wait go at once, those that run notice it; the last one ends the job.
      await reached(job.removeUnprocessedChildren());
      return (await find(id, owner)).document;
    },

    readPage: (view, query) => readResults(view, { ...query, failedOnly: false }),
    readFailures: (view, query) => readResults(view, { ...query, failedOnly: true }),

    async *readAll({ data, done }) {
      const output = new JobOutput(data.output);
      for (const shard of [...done.keys()].sort((a, b) => a - b)) {
        for (const line of (await output.readPart(shard)) ?? []) yield `${line}\n`;
      }
    },
  };
}

function isFailure(line: string): boolean {
  return hasMembers(JSON.parse(line), 'error');
}

/** The same for the same key of the same client, so that the queue server itself refuses the second. */
function idOf(owner: string, key: string): string {
  return `k${hashOf(JSON.stringify([owner, key]))}`;
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

/** What a queue server that cannot be reached says in many ways is one problem. */
async function reached<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    const problem = new ServiceError('queue_unavailable', 'The queue server does not answer.', 5);
    problem.cause = error;
    throw problem;
  }
}
