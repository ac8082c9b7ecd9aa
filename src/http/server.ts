import { randomUUID } from 'node:crypto';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyPluginCallback,
} from 'fastify';
import type { Registry } from 'prom-client';
import type { Config } from '../config.js';
import type { Captioner } from '../captioner/captioner.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import { answerClientError } from './client-error.js';
import { apiKeysPlugin } from './auth.js';
import { bodyParsersPlugin } from './plugins/body-parsers.js';
import { connectionsPlugin } from './plugins/connections.js';
import { corsPlugin } from './plugins/cors.js';
import { framingPlugin } from './plugins/framing.js';
import { helmetPlugin } from './plugins/helmet.js';
import { metricsPlugin } from './plugins/metrics.js';
import { openApiPlugin } from './plugins/openapi.js';
import { problemsPlugin, sendProblem } from './problem-details.js';
import { type Protocol, registerProtocols } from './protocol.js';
import { rateLimitPlugin } from './plugins/rate-limit.js';
import { RequestLog, traceIdOf } from './request-log.js';
import { captionBatchRoutes } from './routes/caption-batch.js';
import { captionRoutes } from './routes/captions.js';
import { conceptRoutes } from './routes/concepts.js';
import { docsRoutes } from './routes/docs.js';
import { embeddingRoutes } from './routes/embeddings.js';
import { modelRoutes } from './routes/models.js';
import { healthRoutes } from './routes/health.js';
import { scoreRoutes } from './routes/scores.js';
import { playgroundRoutes } from './routes/playground.js';
import { createUploads } from './uploads.js';
import { packageVersion } from '../version.js';

export interface ServerDeps {
  readonly config: Config;
  readonly captioner: Captioner;
  readonly scheduler: Scheduler;
  readonly logger: FastifyBaseLogger;
  /** Takes the metrics of HTTP, beside those of the scheduler. */
  readonly registry: Registry;
  /** The protocols of other products that are served beside /v1. */
  readonly protocols: readonly Protocol[];
  /** Traces requests, where that is wanted. */
  readonly tracing?: FastifyPluginAsync | undefined;
  /** The calls of jobs, where there is a queue server. */
  readonly jobs?: FastifyPluginCallback | undefined;
  /** Only the calls of operation are served. */
  readonly onlyHealth?: boolean;
}

/** Assembles the HTTP server; it does not listen yet. Closing it leaves the scheduler as it is. */
export async function buildServer({
  config,
  captioner,
  scheduler,
  logger,
  registry,
  protocols,
  tracing,
  jobs,
  onlyHealth = false,
}: ServerDeps): Promise<FastifyInstance> {
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
      requireHostHeader: false, // plugins/framing.ts answers with a problem
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
    genReqId: ({ headers }) => validRequestId(headers['x-request-id']) ?? randomUUID(),
    frameworkErrors: (error, request, reply) => {
      reply.header('x-request-id', request.id); // no hook runs for these
      sendProblem(error, request, reply);
    },
    clientErrorHandler: answerClientError,
  });

  if (tracing !== undefined) await app.register(tracing);
  await app.register(problemsPlugin);
  await app.register(framingPlugin);
  await app.register(connectionsPlugin, {
    maxConnections: config.maxConnections,
    lingerBytes: 2 * config.maxBodyBytes,
    lingerMs: 30_000,
    silentMs: 1000,
  });
  await app.register(helmetPlugin);
  await app.register(corsPlugin, { origins: config.corsOrigins });
  await app.register(metricsPlugin, { registry });
  await app.register(bodyParsersPlugin, { maxOptionsBytes: config.maxOptionsBytes });
  await app.register(openApiPlugin, { version: packageVersion(), protocols });

  if (onlyHealth) {
    await app.register(healthRoutes, { scheduler, registry });
    return app;
  }
  app.decorateRequest('admitted', null);
  // Options come in the query, in forms and in JSON, and are checked together (captioner/options.ts).
  app.setValidatorCompiler(() => () => true);
  const { requestTimeoutMs, uploadGraceMs, maxBodyBytes } = config;
  // One body of the largest size always fits.
  const maxBytes = Math.max(config.maxUploadBytes, maxBodyBytes);
  const uploads = createUploads({ graceMs: uploadGraceMs, maxBytes, registry });
  const shared = { captioner, scheduler, requestTimeoutMs, maxBodyBytes, uploads };
  // A batch that the whole queue cannot hold would never be admitted.
  const maxBatchImages = Math.min(config.maxBatchImages, config.maxQueueImages);
  const { apiKeyHashes: hashes, keylessPaths, rateLimit: perMinute, modelAliases } = config;
  // What costs something is asked for by those who may, as often as they may.
  await app.register(async (v1) => {
    await v1.register(rateLimitPlugin, { perMinute, hashes });
    await v1.register(apiKeysPlugin, { hashes, keylessPaths });
    await v1.register(captionRoutes, shared);
    await v1.register(captionBatchRoutes, { ...shared, maxBatchImages });
    await v1.register(scoreRoutes, shared);
    await v1.register(embeddingRoutes, { ...shared, maxBatchImages, modelAliases });
    await v1.register(modelRoutes, { scheduler, modelAliases });
    await v1.register(conceptRoutes, { scheduler });
    if (jobs !== undefined) await v1.register(jobs);
    await registerProtocols(v1, protocols, {
      ...shared,
      maxImages: maxBatchImages,
      modelAliases,
      minConfidence: config.protocolMinConfidence,
      corsOrigins: config.corsOrigins,
    });
  });
  await app.register(healthRoutes, { scheduler, registry });
  await app.register(playgroundRoutes);
  await app.register(docsRoutes);
  return app;
}

function validRequestId(id: string | string[] | undefined): string | undefined {
  return typeof id === 'string' && /^[\w-]{1,64}$/.test(id) ? id : undefined;
}
