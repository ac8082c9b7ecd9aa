import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createCaptioner } from '../../src/captioner/captioner.js';
import { readConfig } from '../../src/config.js';
import { buildServer } from '../../src/http/server.js';
import { startJobs } from '../../src/start-jobs.js';
import { createFakeScheduler } from '../http/fake-scheduler.js';
import { createInProcessDecoder } from '../images/in-process-decoder.js';

// A service in a process of its own that takes orders of jobs and works on none. Tests start it, and kill it.
const config = readConfig({ JOBS_WORKER: 'false', ...process.env });
const registry = new Registry();
const logger = pino({ level: 'silent' });
const scheduler = createFakeScheduler();
const captioner = createCaptioner({
  decoder: createInProcessDecoder(config),
  maxFetchedBytes: config.maxBodyBytes,
});
const jobs = startJobs(config, { captioner, scheduler, processes: 1 }, logger, registry);
const app = await buildServer({
  config,
  captioner,
  scheduler,
  logger,
  registry,
  protocols: [],
  jobs: jobs.routes,
});
const url = await app.listen({ host: '127.0.0.1', port: config.port });
process.stdout.write(`${url}\n`);
