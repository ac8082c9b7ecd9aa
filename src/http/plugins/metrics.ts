import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { collectDefaultMetrics, Histogram, type Registry } from 'prom-client';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The protocol of another product that a route belongs to. */
    protocol?: string;
  }
}

export interface MetricsOptions {
  readonly registry: Registry;
}

/** Counts and times every answer, and the process itself. */
export const metricsPlugin = fp((app: FastifyInstance, { registry }: MetricsOptions, done: () => void) => {
  collectDefaultMetrics({ register: registry });
  const duration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time from the headers of a request to the end of its answer',
    labelNames: ['protocol', 'method', 'route', 'status'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers: [registry],
  });
  app.addHook('onResponse', (request, reply, next) => {
    // The route's pattern, not the path: strangers must not be able to make up labels.
    const labels = {
      protocol: request.routeOptions.config.protocol ?? 'pcm-caption',
      method: request.method,
      route: request.routeOptions.url ?? 'none',
      status: reply.statusCode,
    };
    duration.observe(labels, reply.elapsedTime / 1000);
    next();
  });
  done();
});
