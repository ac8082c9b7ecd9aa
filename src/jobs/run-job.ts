import { WaitingChildrenError } from 'bullmq';
import { pMapIterable } from 'p-map';
import { ServiceError } from '../errors.js';
import { nextPriorities } from './fair-priority.js';
import { type JobOutcome, type JobPlan, problemOf, type StopReason } from './job.js';
import { listJobImages } from './list-images.js';
import type { Locations } from './locations.js';
import { JobOutput } from './output.js';
import { documentOf, doneShards, planOf, problemOfMessage } from './progress.js';
import { hookOptions, type QueuedJob, type Queues, stepOptions } from './queues.js';
import { isPermanent } from './transient.js';

export interface RunJobDeps {
  readonly queues: Queues;
  readonly locations: Locations;
  /** Images of a shard. */
  readonly shardImages: number;
}

/** Lists of shards that are written at the same time. */
const listsAtOnce = 8;
/** Shards that are added to the queue in one call. */
const shardsAtOnce = 200;

/**
 * One step of a job. The first one lists its images and adds its shards to the queue; the queue server then keeps the job
 * until all shards are done, one has failed for good, or the job is stopped, and calls for the next step. Each step begins with
 * what is there, so that one that was broken off is simply done again.
 */
export async function runJob(job: QueuedJob, token: string, deps: RunJobDeps): Promise<JobOutcome> {
  const { queues } = deps;
  const output = new JobOutput(job.data.output);
  try {
    const failure = Object.values(await job.getIgnoredChildrenFailures())[0];
    const stopped = (await stopReason(queues, job)) ?? (failure === undefined ? undefined : 'failed');
    if (stopped === undefined) {
      const plan = await planJob(job, output, deps);
      const done = await doneShards(job);
      const missing = Array.from({ length: plan?.shards ?? 0 }, (_, index) => index).filter(
        (index) => !done.has(index),
      );
      if (plan !== undefined && missing.length === 0) return await endJob(job, { status: 'done' }, deps);
      await addShards(job, missing, queues);
    } else if (job.data.stopped === undefined) {
      await job.updateData({ ...job.data, stopped });
    }
    // Stopped now, or while shards were added.
    if ((await stopReason(queues, job)) !== undefined) await job.removeUnprocessedChildren();
    if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
    if (stopped === undefined) return await runJob(job, token, deps);
    const problem = stopped === 'failed' ? problemOfMessage(failure ?? '') : undefined;
    return await endJob(job, { status: stopped, ...(problem !== undefined && { problem }) }, deps);
  } catch (error) {
    if (error instanceof WaitingChildrenError) throw error;
    const isLast = job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
    if (!isPermanent(error) && !isLast) throw error;
    return endJob(job, { status: 'failed', problem: problemOf(error) }, deps);
  }
}

/** Whether the job is to be stopped, as the queue server knows it now. */
async function stopReason(queues: Queues, { id = '' }: QueuedJob): Promise<StopReason | undefined> {
  return (await queues.jobs.getJob(id))?.data.stopped;
}

/**
 * Writes the list of each shard, and then the plan; or takes the plan that an earlier step, or the same order, has made.
 * Undefined when the job is stopped meanwhile.
 */
async function planJob(job: QueuedJob, output: JobOutput, deps: RunJobDeps): Promise<JobPlan | undefined> {
  const known = planOf(job) ?? (await output.readPlan());
  const plan = known ?? (await writeLists(job, output, deps));
  if (plan === undefined) return undefined;
  if (known === undefined) await output.writePlan(plan);
  await job.updateProgress({ ...plan });
  return plan;
}

async function writeLists(job: QueuedJob, output: JobOutput, deps: RunJobDeps): Promise<JobPlan | undefined> {
  const order = await output.readOrder();
  if (order?.fingerprint !== job.data.fingerprint) {
    throw new ServiceError('output_in_use', 'The output has become that of another job.');
  }
  const names = listJobImages(order.source, deps.locations);
  const lists = pMapIterable(
    numbered(inGroups(names, deps.shardImages)),
    async ([index, group]) => {
      await output.writeList(index, group);
      return group.length;
    },
    { concurrency: listsAtOnce },
  );
  let images = 0;
  let shards = 0;
  for await (const length of lists) {
    images += length;
    shards += 1;
    if (shards % shardsAtOnce === 0 && (await stopReason(deps.queues, job)) !== undefined) return undefined;
  }
  if (images === 0) throw new ServiceError('missing_image', 'There is no image at the source.');
  return { images, shards, shardImages: deps.shardImages };
}

async function addShards(
  job: QueuedJob,
  indexes: readonly number[],
  { jobs, shards }: Queues,
): Promise<void> {
  const { id = '' } = job;
  let last = 0;
  for (let start = 0; start < indexes.length; start += shardsAtOnce) {
    const group = indexes.slice(start, start + shardsAtOnce);
    const [head] = await shards.getJobs(['prioritized'], 0, 0, true);
    const priorities = nextPriorities(group.length, last, head?.priority);
    last = priorities.at(-1) ?? last;
    await shards.addBulk(
      group.map((index, place) => ({
        name: 'shard',
        data: { job: id, index },
        opts: {
          ...stepOptions,
          // The same name each time: a shard that waits is not added twice.
          jobId: `${id}-${index}`,
          priority: priorities[place] ?? last,
          parent: { id, queue: jobs.qualifiedName },
          continueParentOnFailure: true,
        },
      })),
    );
  }
}

/** Says how the job ended: in the output, and to the web hook. Returns the outcome. */
async function endJob(job: QueuedJob, outcome: JobOutcome, { queues }: RunJobDeps): Promise<JobOutcome> {
  const { id = '', data } = job;
  const facts = { done: await doneShards(job), plan: planOf(job), outcome, hasBegun: true };
  const document = documentOf(job, facts);
  try {
    await new JobOutput(data.output).writeSummary(document);
  } catch (error) {
    // A job that failed because nothing can be written has no summary either.
    if (outcome.status === 'done') throw error;
  }
  if (data.webhook !== undefined) {
    // By its name, so that a step that is done again does not add it twice.
    await queues.hooks.add(
      'hook',
      { url: data.webhook, event: `job.${outcome.status}`, document },
      { ...hookOptions, jobId: `${id}-ended` },
    );
  }
  return outcome;
}

async function* inGroups<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let group: T[] = [];
  for await (const item of items) {
    group.push(item);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

async function* numbered<T>(items: AsyncIterable<T>): AsyncGenerator<[number, T]> {
  let index = 0;
  for await (const item of items) yield [index++, item];
}
