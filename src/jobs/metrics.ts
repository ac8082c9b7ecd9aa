import { Counter, Gauge, type Registry } from 'prom-client';
import type { ShardOutcome } from './job.js';
import type { Queues } from './queues.js';

export interface JobMetrics {
  /** Counts the images of a shard whose results are written. */
  readonly written: (outcome: ShardOutcome) => void;
}

/** States of an entry in the names of the queue library, by the names that metrics have. */
const states = { waiting: ['wait', 'prioritized'], running: ['active'], delayed: ['delayed'] } as const;
const queueNames = ['jobs', 'shards', 'hooks'] as const;

type Counts = Pick<Queues['shards'], 'getJobCounts'>;

export function createJobMetrics(
  registry: Registry,
  queues: Readonly<Record<(typeof queueNames)[number], Counts>>,
): JobMetrics {
  new Gauge({
    name: 'pcm_caption_job_queue_entries',
    help: 'Steps of jobs, shards and web hooks on the queue server; delayed ones wait for their next try',
    labelNames: ['queue', 'state'],
    registers: [registry],
    async collect() {
      try {
        for (const queue of queueNames) {
          const counts = await queues[queue].getJobCounts(...Object.values(states).flat());
          for (const [state, names] of Object.entries(states)) {
            this.set(
              { queue, state },
              names.reduce((sum, name) => sum + (counts[name] ?? 0), 0),
            );
          }
        }
      } catch {
        // No figure is better than an old one while the queue server is away.
        this.reset();
      }
    },
  });
  const images = new Counter({
    name: 'pcm_caption_job_images_total',
    help: 'Images of jobs whose results this worker has written',
    labelNames: ['outcome'],
    registers: [registry],
  });
  // The first event counts as an increase.
  for (const outcome of ['captioned', 'failed']) images.inc({ outcome }, 0);
  return {
    written({ captioned, failed }) {
      images.inc({ outcome: 'captioned' }, captioned);
      images.inc({ outcome: 'failed' }, failed);
    },
  };
}
