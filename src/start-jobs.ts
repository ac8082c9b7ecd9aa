import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyPluginCallback } from 'fastify';
import type { Registry } from 'prom-client';
import type { Captioner } from './captioner/captioner.js';
import { type Config, ConfigError } from './config.js';
import { createJsonPoster } from './images/post-json.js';
import { createUrlCheck } from './images/url-policy.js';
import { createJobService } from './jobs/job-service.js';
import { type JobLogger, startJobWorker } from './jobs/job-worker.js';
import { createLocations } from './jobs/locations.js';
import { createJobMetrics } from './jobs/metrics.js';
import { openQueues } from './jobs/queues.js';
import { jobRoutes } from './jobs/routes.js';
import { hookKey } from './jobs/web-hooks.js';
import type { Scheduler } from './scheduler/scheduler.js';

export interface JobParts {
  readonly captioner: Captioner;
  readonly scheduler: Scheduler;
  /** Inference processes. */
  readonly processes: number;
}

export interface RunningJobs {
  readonly routes: FastifyPluginCallback;
  /**
   * Finishes the shards under way, within the grace.
   *
   * @returns false when connections to a queue server that is away are left open: the process does not end by itself
   */
  close(): Promise<boolean>;
}

/** Images of each inference process: the batch that runs, the one it has in hand, and the one that is being decoded. */
const batchesUnderWay = 3;
/** A message about a queue server that is away is enough once in a while. */
const errorEveryMs = 10_000;
const pollMs = 1000;
const maxCloseMs = 3000;

/**
 * Connects to the queue server, and takes work from it where the settings want that. Does not wait until it answers.
 *
 * @throws ConfigError when JOBS_ROOT is no folder
 */
export function startJobs(
  config: Config,
  { captioner, scheduler, processes }: JobParts,
  logger: JobLogger,
  registry: Registry,
): RunningJobs {
  const { jobsRoot } = config;
  if (jobsRoot !== '' && statSync(jobsRoot, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new ConfigError(`JOBS_ROOT is "${jobsRoot}", and takes a folder that exists`);
  }
  let lastErrorAt = -Infinity;
  const queues = openQueues(config.queueUrl, (error) => {
    if (performance.now() - lastErrorAt < errorEveryMs) return;
    lastErrorAt = performance.now();
    logger.warn({ reason: error.message }, 'the queue server does not answer');
  });
  const locations = createLocations({
    root: jobsRoot === '' ? undefined : jobsRoot,
    buckets: config.jobsBuckets,
  });
  const hookPolicy = { hosts: config.webhookHosts, networks: config.webhookNetworks };
  const hooks =
    config.webhookSecret === ''
      ? undefined
      : { secret: hookKey(config.webhookSecret), post: createJsonPoster(hookPolicy), now: Date.now };
  const { url: checkHook } = createUrlCheck(hookPolicy);
  const metrics = createJobMetrics(registry, queues);
  const { maxBatchSize, maxQueueImages } = config;
  const worker = config.jobsWorker
    ? startJobWorker({
        queues,
        captioner,
        scheduler,
        locations,
        hooks,
        maxImageBytes: config.maxBodyBytes,
        shardImages: config.jobsShardImages,
        // Single requests find slots of the queue, too.
        concurrency: Math.max(
          1,
          Math.min(batchesUnderWay * maxBatchSize * processes, Math.floor(maxQueueImages / 2)),
        ),
        logger,
        metrics,
      })
    : undefined;
  const service = createJobService(queues, config.jobsKeepHours * 3_600_000);
  const policy = {
    locations,
    allowUrlImages: config.allowUrlImages,
    checkHook: hooks && ((url: string) => void checkHook(url)),
  };
  return {
    routes: (app, _options, done) => {
      jobRoutes(app, { service, policy, scheduler, keyHashes: config.apiKeyHashes, pollMs }, done);
    },
    async close() {
      const isClosed = (await worker?.close(config.shutdownGraceMs)) ?? true;
      return Promise.race([queues.close().then(() => isClosed), sleep(maxCloseMs, false, { ref: false })]);
    },
  };
}
