import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { Captioner } from '../../src/captioner/captioner.js';
import type { CaptionResult } from '../../src/captioner/results.js';
import { readConfig } from '../../src/config.js';
import { startJobWorker } from '../../src/jobs/job-worker.js';
import { createLocations } from '../../src/jobs/locations.js';
import { createJobMetrics } from '../../src/jobs/metrics.js';
import { openQueues } from '../../src/jobs/queues.js';
import { startCaptioner } from '../../src/start-captioner.js';

// A worker whose first REAL images are captioned by the model; for the others, WAIT_MS stand for decoding and inference.
const { QUEUE_URL = '', REAL = '0', WAIT_MS = '0', CONCURRENCY = '24' } = process.env;
const config = readConfig({ ...process.env, CACHE_SIZE: '0', LOG_LEVEL: 'warn' });
const logger = pino({ level: config.logLevel }, pino.destination(2));
const running = await startCaptioner(config, logger, new Registry());
let real = Number(REAL);
let example: CaptionResult | undefined;
const captioner: Pick<Captioner, 'caption'> = {
  async caption(source, options, context) {
    if (real > 0 || example === undefined) {
      real -= 1;
      return (example = await running.captioner.caption(source, options, context));
    }
    await sleep(Number(WAIT_MS), undefined, { signal: context.signal });
    return example;
  },
};
const queues = openQueues(QUEUE_URL, (error) => {
  logger.warn(error.message);
});
const worker = startJobWorker({
  queues,
  captioner,
  scheduler: running.scheduler,
  locations: createLocations({ root: config.jobsRoot, buckets: [] }),
  hooks: undefined,
  maxImageBytes: config.maxBodyBytes,
  shardImages: config.jobsShardImages,
  concurrency: Number(CONCURRENCY),
  logger,
  metrics: createJobMetrics(new Registry(), queues),
});
process.once('SIGTERM', () => {
  void worker
    .close(10_000)
    .then(() => queues.close())
    .then(() => running.close());
});
process.stdout.write('ready\n');
