import { pino } from 'pino';
import { Registry } from 'prom-client';
import { startJobWorker } from '../../src/jobs/job-worker.js';
import { createLocations } from '../../src/jobs/locations.js';
import { createJobMetrics } from '../../src/jobs/metrics.js';
import { openQueues } from '../../src/jobs/queues.js';
import { createJsonPoster } from '../../src/images/post-json.js';
import { createFakeScheduler } from '../http/fake-scheduler.js';
import { hookSecret } from './hook-receiver.js';
import { stubCaptioner } from './stub-captioner.js';

// A worker in a process of its own, whose model is a wait. It is started, and killed, by tests and by bench.
const { QUEUE_URL = '', JOBS_ROOT, JOBS_BUCKETS, DELAY_MS = '1', CONCURRENCY = '32' } = process.env;
const logger = pino({ level: process.env['LOG_LEVEL'] ?? 'silent' });
const queues = openQueues(QUEUE_URL, () => undefined);
const scheduler = createFakeScheduler();
const worker = startJobWorker({
  queues,
  captioner: stubCaptioner(Number(DELAY_MS)),
  scheduler,
  locations: createLocations({ root: JOBS_ROOT, buckets: JOBS_BUCKETS?.split(',') ?? [] }),
  hooks: {
    secret: Buffer.from(hookSecret),
    post: createJsonPoster({ hosts: [], networks: ['127.0.0.0/8'] }),
    now: Date.now,
  },
  maxImageBytes: 1024 * 1024,
  shardImages: 100,
  concurrency: Number(CONCURRENCY),
  logger,
  metrics: createJobMetrics(new Registry(), queues),
  retry: { retries: 5, minTimeout: 50 },
  lockMs: 1000,
});
process.once('SIGTERM', () => {
  void worker.close(10_000).then(() => queues.close());
});
process.stdout.write('ready\n');
