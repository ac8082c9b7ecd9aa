import type { FastifyInstance } from 'fastify';
import type { BaseLogger } from 'pino';
import { Registry } from 'prom-client';
import type { OnStage } from './captioner/captioner.js';
import { buildServer } from './http/server.js';
import { type Config, ConfigError } from './config.js';
import { findIneffectiveSettings } from './ineffective-settings.js';
import { describeListenError, findAddressProblem } from './listen-address.js';
import { createLogger } from './logger.js';
import { disableIncrementalMarking } from './memory-tuning.js';
import { chooseProtocols } from './protocols/list.js';
import type { Tracing } from './tracing.js';
import { type RunningCaptioner, startCaptioner } from './start-captioner.js';
import type { RunningJobs } from './start-jobs.js';

interface Parts {
  readonly running: RunningCaptioner;
  readonly jobs: RunningJobs | undefined;
}

/**
 * Serves until SIGTERM or SIGINT; SIGHUP loads the bundle again.
 *
 * @param onlyHealth leaves out every call but those of operation: a worker of jobs takes no requests
 */
export async function serve(config: Config, onlyHealth = false): Promise<void> {
  const protocols = chooseProtocols(config.protocols);
  disableIncrementalMarking();
  const logger = await createLogger(config.logLevel);
  for (const line of findIneffectiveSettings(config)) logger.warn(line);
  const tracing = isTracingWanted() ? await startTracing(logger) : undefined;
  const registry = new Registry();
  let app: FastifyInstance | undefined;
  let closing: Promise<void> | undefined;
  let jobs: RunningJobs | undefined;
  // Heard from the beginning: by default SIGHUP ends a process, and the first process of a container knows no default.
  process.on('SIGHUP', () => {
    if (closing === undefined)
      void starting.then(({ scheduler }) => scheduler.reload()).catch(() => undefined);
    else logger.info('SIGHUP is ignored: the service is shutting down');
  });
  const starting = start(config, logger, registry, tracing?.onStage);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    // Not `once`: Ctrl-C reaches this process twice, from the terminal and from npm.
    process.on(signal, () => {
      // Before it listens nothing is in flight, and the inference processes leave with this one.
      if (app === undefined) process.exit(0);
      if (closing === undefined) logger.info({ signal }, 'finishing what is in flight');
      closing ??= close(app, { running, jobs }, config.shutdownGraceMs).then(() => tracing?.close());
    });
  }
  const running = await starting;
  const { captioner, scheduler } = running;
  try {
    // Loaded where it is wanted: the packages of queue servers are optional.
    if (config.queueUrl !== '') {
      const { startJobs } = await import('./start-jobs.js').catch((error: unknown) => {
        throw new ConfigError(
          'QUEUE_URL is set, and jobs need packages that are not installed: npm install bullmq ioredis pg',
          { cause: error },
        );
      });
      jobs = startJobs(config, { captioner, scheduler, processes: scheduler.processes }, logger, registry);
    }
    const parts = { config, captioner, scheduler, logger, registry, protocols, jobs: jobs?.routes };
    const built = await buildServer({ ...parts, onlyHealth, tracing: tracing?.plugin });
    const url = await built.listen({ host: config.host, port: config.port }).catch((error: unknown) => {
      throw new ConfigError(describeListenError(error, config), { cause: error });
    });
    if (process.stdout.isTTY && !onlyHealth)
      logger.info(`open ${url} to caption a photo; ${url}/docs describes the API`);
    app = built;
  } catch (error) {
    await running.close();
    await jobs?.close();
    throw error;
  }
}

/** The address is tried first, since the model takes seconds to load. Throws ConfigError, and what `startCaptioner` throws. */
async function start(
  config: Config,
  logger: BaseLogger,
  registry: Registry,
  onStage: OnStage | undefined,
): Promise<RunningCaptioner> {
  const problem = await findAddressProblem(config);
  if (problem !== undefined) throw new ConfigError(problem);
  return startCaptioner(config, logger, registry, onStage);
}

/** As OpenTelemetry names its settings: an endpoint is what traces cannot do without. */
function isTracingWanted({ env } = process): boolean {
  const endpoints = [env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'], env['OTEL_EXPORTER_OTLP_ENDPOINT']];
  const isDisabled = env['OTEL_SDK_DISABLED'] === 'true' || env['OTEL_TRACES_EXPORTER'] === 'none';
  return endpoints.some(Boolean) && !isDisabled;
}

/** Loads what traces need. The npm package does not bring it along, as most services need none of it. Throws ConfigError. */
async function startTracing(logger: BaseLogger): Promise<Tracing> {
  const loaded = await import('./tracing.js').catch((error: unknown) => {
    throw new ConfigError(
      'OTEL_EXPORTER_OTLP_ENDPOINT is set, and traces need packages that are not installed: npm install @fastify/otel @opentelemetry/api @opentelemetry/exporter-trace-otlp-proto @opentelemetry/resources @opentelemetry/sdk-trace-node',
      { cause: error },
    );
  });
  return loaded.startTracing(logger);
}

/** Takes no more connections, answers what has begun within the grace, then stops; the process ends by itself. */
async function close(app: FastifyInstance, { running, jobs }: Parts, graceMs: number): Promise<void> {
  const grace = setTimeout(() => {
    app.log.warn('the grace is over: closing connections that are still busy');
    app.server.closeAllConnections();
  }, graceMs);
  const [isClosed] = await Promise.all([jobs?.close(), app.close()]);
  clearTimeout(grace);
  await running.close();
  app.log.info('all is answered');
  // The library of queues goes on trying to reach its server.
  if (isClosed === false) process.exit(0);
}
