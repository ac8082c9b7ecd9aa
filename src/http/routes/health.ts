import type { FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import { Type } from 'typebox';
import type { Scheduler } from '../../scheduler/scheduler.js';
import { ServiceError } from '../../errors.js';
import { openApiDocument } from '../openapi/document.js';
import { anyProblems, problemResponses } from '../schemas/problem-responses.js';

export interface HealthRouteOptions {
  readonly scheduler: Scheduler;
  readonly registry: Registry;
}

/** What those who run the service, and their machines, ask of it. */
export function healthRoutes(
  app: FastifyInstance,
  { scheduler, registry }: HealthRouteOptions,
  done: () => void,
): void {
  let closing = false;
  app.addHook('preClose', (next) => {
    closing = true;
    next();
  });

  app.get('/healthz', {
    schema: {
      operationId: 'getHealth',
      tags: ['operation'],
      security: [],
      summary: 'Whether the process is alive',
      response: { 200: statusResponse('Health', 'ok', 'It is.'), ...problemResponses(...anyProblems) },
    },
    handler: () => ({ status: 'ok' }),
  });

  app.get('/readyz', {
    schema: {
      operationId: 'getReadiness',
      tags: ['operation'],
      security: [],
      summary: 'Whether images are taken: once the model is warm and until the service shuts down',
      response: {
        200: statusResponse('Readiness', 'ready', 'They are.'),
        ...problemResponses(...anyProblems, 'not_ready', 'draining'),
      },
    },
    handler: () => {
      if (closing) throw new ServiceError('draining', 'The service finishes what it has begun.');
      const { readiness } = scheduler;
      if (!readiness.ready) throw new ServiceError('not_ready', readiness.reason);
      return { status: 'ready' };
    },
  });

  app.get('/metrics', {
    schema: {
      operationId: 'getMetrics',
      tags: ['operation'],
      security: [],
      summary: 'Figures for Prometheus',
      response: {
        200: {
          description: 'Prometheus’ text format.',
          content: { 'text/plain': { schema: Type.String(), examples: metricsExamples } },
        },
        ...problemResponses(...anyProblems),
      },
    },
    handler: async (_request, reply) => {
      const text = await registry.metrics();
      return reply.type(registry.contentType).send(text);
    },
  });

  let document: string | undefined;
  app.get('/openapi.json', {
    schema: {
      operationId: 'getOpenApi',
      tags: ['operation'],
      security: [],
      summary: 'This document',
      response: {
        200: {
          description: 'OpenAPI 3.1.',
          content: {
            'application/json': {
              schema: Type.Object({}, { additionalProperties: true }),
              examples: { document: { value: { openapi: '3.1.0', info: {}, paths: {} } } },
            },
          },
        },
        ...problemResponses(...anyProblems),
      },
    },
    // Already JSON: nothing is left to serialise.
    serializerCompiler: () => String,
    handler: async (_request, reply) => {
      document ??= JSON.stringify(openApiDocument(app.swagger()));
      return reply.type('application/json').send(document);
    },
  });
  done();
}

const metricsExamples = {
  queue: {
    value:
      '# HELP pcm_caption_queue_images Images that wait for a worker\n# TYPE pcm_caption_queue_images gauge\npcm_caption_queue_images 0\n',
  },
};

function statusResponse(title: string, status: string, description: string) {
  const schema = Type.Object({ status: Type.Literal(status) }, { additionalProperties: false, title });
  const examples = { [status]: { value: { status } } };
  return { description, content: { 'application/json': { schema, examples } } };
}
