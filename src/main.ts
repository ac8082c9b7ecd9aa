#!/usr/bin/env node
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { buildApp, packageVersion } from './app.js';
import { type Config, ConfigError, readConfig, settingsHelp } from './config.js';
import { createEngine } from './engine/create-engine.js';
import type { Engine } from './engine/engine.js';
import { WorkerDied, WorkerRefused } from './engine/worker-process.js';
import { BundleError } from './runtime/bundle-manifest.js';
import { ProviderError } from './runtime/providers.js';

const usage = `pcm-caption: captions for images over HTTP.

Usage: pcm-caption [--help | --version]

Settings are environment variables, [in brackets] what holds without them:
${settingsHelp()}
`;

async function main(args: readonly string[]): Promise<void> {
  const [argument] = args;
  if (argument === '--help' || argument === '-h') {
    process.stdout.write(usage);
  } else if (argument === '--version') {
    process.stdout.write(`${packageVersion()}\n`);
  } else if (argument === undefined) {
    const config = readConfig(process.env);
    // Inference processes get this environment, and keys are none of their business.
    delete process.env['API_KEYS'];
    await serve(config);
  } else {
    process.stderr.write(`pcm-caption: unknown argument ${argument}; --help lists what there is.\n`);
    process.exitCode = 2;
  }
}

/** Serves until SIGTERM or SIGINT. */
async function serve(config: Config): Promise<void> {
  const logger = pino({ level: config.logLevel });
  const registry = new Registry();
  const engine = await createEngine(config, logger, registry);
  try {
    const app = await buildApp({ config, engine, logger, registry });
    await app.listen({ host: config.host, port: config.port });
    let closing: Promise<void> | undefined;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      // Not `once`: Ctrl-C reaches this process twice, from the terminal and from npm.
      process.on(signal, () => {
        if (closing === undefined) logger.info({ signal }, 'finishing what is in flight');
        closing ??= close(app, engine, config.shutdownGraceMs);
      });
    }
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

/** Errors whose message says all that the person who starts the service needs. */
const explained = [ConfigError, BundleError, ProviderError, WorkerRefused, WorkerDied];

try {
  await main(process.argv.slice(2));
} catch (error) {
  const isExplained = error instanceof Error && explained.some((kind) => error instanceof kind);
  const isAddress = error instanceof Error && 'syscall' in error && error.syscall === 'listen';
  process.stderr.write(
    `pcm-caption: ${isExplained || isAddress ? error.message : String(error instanceof Error ? error.stack : error)}\n`,
  );
  process.exitCode = 1;
}
