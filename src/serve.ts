import { setFlagsFromString } from 'node:v8';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { buildApp } from './app.js';
import type { Config } from './config.js';
import { createEngine } from './engine/create-engine.js';
import type { Engine } from './engine/engine.js';

/** Serves until SIGTERM or SIGINT; SIGHUP loads the bundle again. */
export async function serve(config: Config): Promise<void> {
  markAtOnce();
  const logger = pino({ level: config.logLevel });
  const registry = new Registry();
  let app: FastifyInstance | undefined;
  let closing: Promise<void> | undefined;
  // Heard from the beginning: by default SIGHUP ends a process, and the first process of a container knows no default.
  process.on('SIGHUP', () => {
    if (closing === undefined) void starting.then((engine) => engine.reload()).catch(() => undefined);
    else logger.info('SIGHUP is ignored: the service is shutting down');
  });
  const starting = createEngine(config, logger, registry);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    // Not `once`: Ctrl-C reaches this process twice, from the terminal and from npm.
    process.on(signal, () => {
      // Before it listens nothing is in flight, and the inference processes leave with this one.
      if (app === undefined) process.exit(0);
      if (closing === undefined) logger.info({ signal }, 'finishing what is in flight');
      closing ??= close(app, engine, config.shutdownGraceMs);
    });
  }
  const engine = await starting;
  try {
    const built = await buildApp({ config, engine, logger, registry });
    await built.listen({ host: config.host, port: config.port });
    app = built;
  } catch (error) {
    await engine.drain();
    throw error;
  }
}

/** Takes no more connections, answers what has begun within the grace, then stops; the process ends by itself. */
async function close(app: FastifyInstance, engine: Engine, graceMs: number): Promise<void> {
  const grace = setTimeout(() => {
    app.log.warn('the grace is over: closing connections that are still busy');
    app.server.closeAllConnections();
  }, graceMs);
  await app.close();
  clearTimeout(grace);
  await engine.drain();
  app.log.info('all is answered');
}

/**
 * Lets V8 mark what is alive in one go, not step by step beside the program.
 *
 * The heaps here are small, 25 MB in the serving process, but bodies, pixels and tensors of 60 MB a second pass through outside of
 * them. V8 took that for a reason to begin marking three times a second; its steps, and the threads that mark beside
 * them, cost a tenth of the CPU. In one go it takes 10 to 20 ms at a time.
 */
function markAtOnce(): void {
  setFlagsFromString('--no-incremental-marking');
  setFlagsFromString('--no-memory-reducer');
}
