import { FastifyOtelInstrumentation } from '@fastify/otel';
import { context, diag, DiagLogLevel, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import type { FastifyPluginAsync } from 'fastify';
import fastifyPlugin from 'fastify-plugin';
import type { BaseLogger } from 'pino';
import type { OnStage } from './captioner/captioner.js';
import { packageVersion } from './version.js';

/** Traces of requests, sent to where OTEL_EXPORTER_OTLP_ENDPOINT says. */
export interface Tracing {
  /** Makes a span of each request, in the trace that `traceparent` names. */
  readonly plugin: FastifyPluginAsync;
  /** Makes a span of a stage, below that of the request. */
  readonly onStage: OnStage;
  /** Sends what has not been sent. */
  close(): Promise<void>;
}

/** What machines ask all day. */
const quietPaths = ['/healthz', '/readyz', '/metrics'];

/** Starts tracing; sampling, batches, headers and the resource are the settings OTEL_… of OpenTelemetry. */
export function startTracing(logger: BaseLogger): Tracing {
  const warn = (message: string) => {
    logger.warn(`tracing: ${message}`);
  };
  const ignore = () => undefined;
  diag.setLogger({ error: warn, warn, info: ignore, debug: ignore, verbose: ignore }, DiagLogLevel.WARN);
  const name = 'pcm-caption';
  const own = resourceFromAttributes({ 'service.name': name, 'service.version': packageVersion() });
  const provider = new NodeTracerProvider({
    resource: own.merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  const instrumentation = new FastifyOtelInstrumentation({
    instrumentHooks: false,
    instrumentHandler: false,
    recordExceptions: false, // a refusal is nothing to debug, and anything else is in the log
    ignorePaths: ({ url }) => quietPaths.includes(url),
    requestHook: (span, { method, url, routeOptions }) => {
      span.updateName(`${method} ${routeOptions.url ?? 'none'}`);
      // The query has options, which are words of a client.
      span.setAttribute('url.path', url.split('?', 1)[0] ?? '');
    },
  });
  instrumentation.setTracerProvider(provider);
  const tracer = provider.getTracer(name, packageVersion());

  return {
    plugin: fastifyPlugin(async (app) => {
      await app.register(instrumentation.plugin());
      app.addHook('onRequest', (request, reply, done) => {
        const traceId = request.opentelemetry().span?.spanContext().traceId;
        // With the header, the lines have it already.
        if (traceId !== undefined && request.headers['traceparent'] === undefined)
          request.log = reply.log = request.log.child({ trace_id: traceId });
        done();
      });
      // The parser of a body calls what follows from a context of its own.
      app.addHook('preHandler', (request, _reply, done) => {
        const { context: own } = request.opentelemetry();
        if (own) context.with(own, done);
        else done();
      });
    }),
    onStage(stage, startMs, endMs) {
      if (trace.getActiveSpan() === undefined) return;
      const epochMs = Date.now() - performance.now();
      tracer.startSpan(stage, { startTime: epochMs + startMs }).end(epochMs + endMs);
    },
    async close() {
      await provider.shutdown().catch((error: unknown) => {
        warn(error instanceof Error ? error.message : String(error));
      });
    },
  };
}
