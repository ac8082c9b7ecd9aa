import {
  type JobData,
  type JobDocument,
  type JobOutcome,
  type JobPlan,
  type Problem,
  problemOf,
  type ShardOutcome,
} from './job.js';
import { hasMembers } from './output.js';
import type { QueuedJob } from './queues.js';
import { type ErrorCode, errorCodes, ServiceError } from '../errors.js';

/** What the queue server knows of a job now. */
export interface JobView {
  readonly data: JobData;
  readonly document: JobDocument;
  readonly plan: JobPlan | undefined;
  /** By the number of the shard; only those that were written. */
  readonly done: ReadonlyMap<number, ShardOutcome>;
  readonly hasEnded: boolean;
}

export async function viewJob(job: QueuedJob): Promise<JobView> {
  const done = await doneShards(job);
  const plan = planOf(job);
  const outcome = outcomeOf(job);
  const document = documentOf(job, { done, plan, outcome, hasBegun: job.processedOn !== undefined });
  return { data: job.data, document, plan, done, hasEnded: outcome !== undefined };
}

/** How a job ended. Its state on the queue server may be newer than what was read of it. */
function outcomeOf({ finishedOn, returnvalue, failedReason }: QueuedJob): JobOutcome | undefined {
  if (finishedOn === undefined) return undefined;
  if (hasMembers(returnvalue, 'status')) return returnvalue;
  // The queue server gave it up: its worker was killed each time.
  return { status: 'failed', problem: problemOf(new ServiceError('internal', failedReason)) };
}

export interface JobFacts {
  readonly done: ReadonlyMap<number, ShardOutcome>;
  readonly plan: JobPlan | undefined;
  readonly outcome: JobOutcome | undefined;
  readonly hasBegun: boolean;
}

export function documentOf(
  { id = '', data, timestamp, finishedOn }: Pick<QueuedJob, 'id' | 'data' | 'timestamp' | 'finishedOn'>,
  { done, plan, outcome, hasBegun }: JobFacts,
): JobDocument {
  const sum = (count: 'captioned' | 'failed') =>
    [...done.values()].reduce((total, shard) => total + shard[count], 0);
  const begun = plan !== undefined ? 'running' : 'planning';
  const going = data.stopped !== undefined ? 'cancelling' : hasBegun ? begun : 'queued';
  return {
    id,
    status: outcome?.status ?? going,
    output: data.output,
    images: { ...(plan && { total: plan.images }), captioned: sum('captioned'), failed: sum('failed') },
    shards: { ...(plan && { total: plan.shards }), done: done.size },
    createdAt: new Date(timestamp).toISOString(),
    ...(outcome !== undefined && { finishedAt: new Date(finishedOn ?? Date.now()).toISOString() }),
    ...(outcome?.problem !== undefined && { problem: outcome.problem }),
  };
}

export function planOf({ progress }: Pick<QueuedJob, 'progress'>): JobPlan | undefined {
  if (!hasMembers(progress, 'images', 'shards', 'shardImages')) return undefined;
  const { images, shards, shardImages } = progress;
  return { images: Number(images), shards: Number(shards), shardImages: Number(shardImages) };
}

/** The shards whose results were written, as the queue server recorded them with the end of each. */
export async function doneShards(job: QueuedJob): Promise<Map<number, ShardOutcome>> {
  const outcomes = Object.values(await job.getChildrenValues<ShardOutcome>());
  return new Map(outcomes.filter(({ stopped }) => stopped !== true).map((each) => [each.index, each]));
}

/** The error of a shard that failed for good; the queue server keeps its message only. */
export function problemOfMessage(message: string): Problem {
  const [, code = '', detail = ''] = /^([a-z_]+): (.*)$/s.exec(message) ?? [];
  return problemOf(isErrorCode(code) ? new ServiceError(code, detail) : new Error(message));
}

function isErrorCode(text: string): text is ErrorCode {
  return text in errorCodes;
}
