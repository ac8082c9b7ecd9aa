import { randomUUID } from 'node:crypto';
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import type { Config } from './config.js';
import type { Engine } from './engine/engine.js';
import { answerClientError } from './http/client-error.js';
import { apiKeysPlugin } from './http/plugins/api-keys.js';
import { bodiesPlugin } from './http/plugins/bodies.js';
import { connectionsPlugin } from './http/plugins/connections.js';
import { corsPlugin } from './http/plugins/cors.js';
import { helmetPlugin } from './http/plugins/helmet.js';
import { metricsPlugin } from './http/plugins/metrics.js';
import { openApiPlugin } from './http/plugins/openapi.js';
import { problemsPlugin, sendProblem } from './http/plugins/problems.js';
import { rateLimitPlugin } from './http/plugins/rate-limit.js';
import { RequestLog } from './http/request-log.js';
import { captionBatchRoutes } from './http/routes/caption-batch.js';
import { captionRoutes } from './http/routes/captions.js';
import { conceptRoutes } from './http/routes/concepts.js';
import { docsRoutes } from './http/routes/docs.js';
import { modelRoutes } from './http/routes/models.js';
import { operationRoutes } from './http/routes/operation.js';
import { scoreRoutes } from './http/routes/scores.js';
import { playgroundRoutes } from './http/routes/playground.js';
import { traceIdOf } from './http/trace-context.js';
import { createUploads } from './http/submission/uploads.js';
import { createDecoder } from './images/decoder.js';
import { createImageFetcher } from './images/fetch-image.js';
import { packageVersion } from './version.js';

export interface AppDependencies {
  readonly config: Config;
  readonly engine: Engine;
  readonly logger: FastifyBaseLogger;
  /** Where this app's figures and its engine's meet. */
  readonly registry: Registry;
}

/** Assembles the HTTP side around an engine; it listens nowhere yet. Closing it leaves the engine as it is. */
export async function buildApp({
  config,
  engine,
  logger,
  registry,
}: AppDependencies): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify({
    // @fastify/multipart traces the headers of a form, API keys among them.
    loggerInstance: logger.child({}, { redact: ['busboyOptions.headers'] }),
    logController: new RequestLog(),
    bodyLimit: config.maxBodyBytes,
    trustProxy: config.trustProxy,
    // Against clients that send a byte a minute (slowloris). A body has the time limit of its route, which is tighter than
    // what a whole request and a connection on which nothing happens have here.
    http: {
      headersTimeout: config.headersTimeoutMs,
      connectionsCheckingInterval: Math.min(1000, config.headersTimeoutMs),
    },
    requestTimeout: config.requestTimeoutMs + 60_000,
    connectionTimeout: config.requestTimeoutMs + 60_000,
    // A request that arrives on an open connection while the server closes is answered like any other.
    return503OnClosing: false,
    // In every line about the request, under the name that OpenTelemetry gives it in logs.
    childLoggerFactory: (parent, bindings, options, { headers }) => {
      const traceId = traceIdOf(headers['traceparent']);
      return parent.child({ ...bindings, ...(traceId !== undefined && { trace_id: traceId }) }, options);
    },
    genReqId: ({ headers }) => takenOver(headers['x-request-id']) ?? randomUUID(),
    frameworkErrors: (error, request, reply) => {
      reply.header('x-request-id', request.id); // no hook runs for these
      sendProblem(error, request, reply);
    },
    clientErrorHandler: answerClientError,
  });

  await app.register(problemsPlugin);
  await app.register(connectionsPlugin, {
    lingerBytes: 2 * config.maxBodyBytes,
    lingerMs: 30_000,
    silentMs: 1000,
  });
  await app.register(helmetPlugin);
  await app.register(corsPlugin, { origins: config.corsOrigins });
  await app.register(metricsPlugin, { registry });
  await app.register(bodiesPlugin);
  await app.register(openApiPlugin, { version: packageVersion() });

  app.decorateRequest('admission', null);
  const { requestTimeoutMs, uploadGraceMs, maxBodyBytes } = config;
  // One body of the largest size always fits.
  const maxBytes = Math.max(config.maxUploadBytes, maxBodyBytes);
  const way = {
    engine,
    decoder: createDecoder(config),
    maxBodyBytes,
    ...(config.allowUrlImages && {
      fetchImage: createImageFetcher({ hosts: config.urlImageHosts, networks: config.urlImageNetworks }),
    }),
  };
  const uploads = createUploads({ graceMs: uploadGraceMs, maxBytes });
  const bounds = { way, requestTimeoutMs, maxBodyBytes, uploads };
  // A batch that the whole queue cannot hold would never be admitted.
  const maxBatchImages = Math.min(config.maxBatchImages, config.maxQueueImages);
  const { apiKeyHashes: hashes, rateLimit: perMinute } = config;
  // What costs something is asked for by those who may, as often as they may.
  await app.register(async (v1) => {
    await v1.register(rateLimitPlugin, { perMinute, hashes });
    await v1.register(apiKeysPlugin, { hashes });
    await v1.register(captionRoutes, bounds);
    await v1.register(captionBatchRoutes, { ...bounds, maxBatchImages });
    await v1.register(scoreRoutes, bounds);
    await v1.register(modelRoutes, { engine });
    await v1.register(conceptRoutes, { engine });
  });
  await app.register(operationRoutes, { engine, registry });
  await app.register(playgroundRoutes);
  await app.register(docsRoutes);
  return app;
}

function takenOver(id: string | string[] | undefined): string | undefined {
  return typeof id === 'string' && /^[\w-]{1,64}$/.test(id) ? id : undefined;
}
