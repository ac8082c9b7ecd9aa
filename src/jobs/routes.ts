import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { createOptionParser } from '../captioner/options.js';
import { ServiceError } from '../errors.js';
import { accessProblems, problemResponses } from '../http/schemas/problem-responses.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { JobService, ResultPage } from './job-service.js';
import { type OrderPolicy, parseOrder } from './order.js';
import type { JobDocument } from './job.js';
import type { JobView } from './progress.js';
import {
  jobExamples,
  JobOrderSchema,
  JobPageQuery,
  JobResultPageSchema,
  JobResultSchema,
  JobSchema,
} from './schemas.js';

export interface JobRouteOptions {
  readonly service: JobService;
  readonly policy: OrderPolicy;
  readonly scheduler: Pick<Scheduler, 'model'>;
  /** Hashes of the API keys, by the number of the key; empty where none is asked for. */
  readonly keyHashes: readonly Buffer[];
  /** Time between two looks at a job for those who follow it. */
  readonly pollMs: number;
}

const ndjson = 'application/x-ndjson';
/** A proxy closes a connection on which nothing comes for a minute. */
const silentPolls = 15;

const jobProblems = [...accessProblems, 'not_found', 'queue_unavailable'] as const;
const readProblems = [...jobProblems, 'invalid_option', 'storage_unavailable', 'forbidden'] as const;
const params = Type.Object({ id: Type.String({ description: 'The `id` of a job.' }) });
const jobContent = { 'application/json': { schema: JobSchema, examples: jobExamples.job } };
const parsePage = createOptionParser(JobPageQuery);

/** The calls of jobs; registered only where there is a queue server. */
export function jobRoutes(app: FastifyInstance, options: JobRouteOptions, done: () => void): void {
  const { service, policy, scheduler, keyHashes, pollMs } = options;
  // Jobs belong to the API key that made them: by its hash, since its number changes when keys are replaced.
  const ownerOf = ({ apiKey }: FastifyRequest): string => {
    const hash = apiKey === null ? undefined : keyHashes[apiKey];
    return hash?.toString('hex').slice(0, 32) ?? 'everybody';
  };
  const find = (request: FastifyRequest) => service.find(idOf(request), ownerOf(request));

  app.post('/v1/jobs', {
    schema: {
      operationId: 'createJob',
      tags: ['jobs'],
      summary: 'Caption the images of a bucket, a folder or a list, on all workers',
      description:
        'With the header `Idempotency-Key` the same order makes one job however often it is sent. The same order with the same `output` goes on where an earlier job ended: images with results are not captioned again.',
      headers: Type.Object({
        'idempotency-key': Type.Optional(
          Type.String({ minLength: 1, maxLength: 255, description: 'A text that is new with each order.' }),
        ),
      }),
      body: { content: { 'application/json': { schema: JobOrderSchema, examples: jobExamples.order } } },
      response: {
        200: {
          description: 'A job that was made before: with this key, or by the same order and not ended yet.',
          content: jobContent,
        },
        201: { description: 'The job; `Location` is its address.', content: jobContent },
        ...problemResponses(
          ...readProblems,
          'malformed_json',
          'url_not_allowed',
          'body_too_large',
          'unsupported_media_type',
          'output_in_use',
          'idempotency_key_reused',
        ),
      },
    },
    serializerCompiler: () => JSON.stringify,
    handler: async (request, reply): Promise<JobDocument> => {
      const key = keyOf(request);
      const order = await parseOrder(request.body, scheduler.model.bundle.decoding.maxLength, policy);
      const { document, isNew } = await service.submit(order, ownerOf(request), key);
      reply.code(isNew ? 201 : 200).header('location', `/v1/jobs/${document.id}`);
      return document;
    },
  });

  app.get('/v1/jobs/:id', {
    schema: {
      operationId: 'getJob',
      tags: ['jobs'],
      summary: 'How far a job is',
      params,
      response: {
        200: { description: 'The job.', content: jobContent },
        ...problemResponses(...jobProblems),
      },
    },
    serializerCompiler: () => JSON.stringify,
    handler: async (request): Promise<JobDocument> => (await find(request)).document,
  });

  app.delete('/v1/jobs/:id', {
    schema: {
      operationId: 'deleteJob',
      tags: ['jobs'],
      summary: 'Cancel a job',
      description:
        'Results that are written stay. The job is `cancelling` until no worker works on it, then `cancelled`; one that has ended stays as it is.',
      params,
      response: {
        200: { description: 'The job.', content: jobContent },
        ...problemResponses(...jobProblems),
      },
    },
    serializerCompiler: () => JSON.stringify,
    handler: (request): Promise<JobDocument> => service.cancel(idOf(request), ownerOf(request)),
  });

  app.get('/v1/jobs/:id/events', {
    schema: {
      operationId: 'listJobEvents',
      tags: ['jobs'],
      summary: 'Follow a job by server-sent events',
      description: 'An event `progress` with the job at each change, and `end` with the last one.',
      params,
      response: {
        200: {
          description: 'Events until the job has ended.',
          content: { 'text/event-stream': { schema: Type.String(), examples: jobExamples.events } },
        },
        ...problemResponses(...jobProblems),
      },
    },
    handler: async (request, reply) => {
      const first = await find(request);
      const closed = new AbortController();
      reply.raw.once('close', () => {
        closed.abort();
      });
      return reply
        .type('text/event-stream; charset=utf-8')
        .header('cache-control', 'no-cache')
        .header('x-accel-buffering', 'no')
        .send(Readable.from(eventsOf(first, () => find(request), pollMs, closed.signal)));
    },
  });

  const readPages = (
    read: (view: JobView, query: { start: number; limit: number }) => Promise<ResultPage>,
  ) => {
    return async (request: FastifyRequest): Promise<string> => {
      const query = parsePage({ texts: pairsOf(request.query), members: {} });
      const { lines, next } = await read(await find(request), query);
      return `{"results":[${lines.join(',')}]${next === undefined ? '' : `,"next":${next}`}}`;
    };
  };
  const readPage = readPages((view, query) => service.readPage(view, query));
  const readFailures = readPages((view, query) => service.readFailures(view, query));

  app.get('/v1/jobs/:id/results', {
    schema: {
      operationId: 'listJobResults',
      tags: ['jobs'],
      summary: 'The results of a job, in pages or as a download',
      description: `With \`Accept: ${ndjson}\` all results that are there come as one file, a line for each image.`,
      params,
      querystring: Type.Partial(JobPageQuery),
      response: {
        200: {
          description: 'A page, or all.',
          content: {
            'application/json': { schema: JobResultPageSchema, examples: jobExamples.page },
            [ndjson]: { schema: JobResultSchema, examples: jobExamples.lines },
          },
        },
        ...problemResponses(...readProblems),
      },
    },
    serializerCompiler: () => String,
    handler: async (request, reply) => {
      if (request.accepts().type(['application/json', ndjson]) !== ndjson) {
        return reply.type('application/json').send(await readPage(request));
      }
      const view = await find(request);
      return reply
        .type(ndjson)
        .header('content-disposition', `attachment; filename="${view.document.id}.ndjson"`)
        .send(Readable.from(service.readAll(view)));
    },
  });

  app.get('/v1/jobs/:id/failures', {
    schema: {
      operationId: 'listJobFailures',
      tags: ['jobs'],
      summary: 'The images of a job that failed, with their problems',
      params,
      querystring: Type.Partial(JobPageQuery),
      response: {
        200: {
          description: 'A page.',
          content: { 'application/json': { schema: JobResultPageSchema, examples: jobExamples.failures } },
        },
        ...problemResponses(...readProblems),
      },
    },
    serializerCompiler: () => String,
    handler: async (request, reply) => reply.type('application/json').send(await readFailures(request)),
  });
  done();
}

/** An event at each change, until the job has ended or the client has gone. */
async function* eventsOf(
  first: JobView,
  find: () => Promise<JobView>,
  pollMs: number,
  closed: AbortSignal,
): AsyncGenerator<string> {
  let sent = '';
  let silent = 0;
  for (let view = first; ;) {
    const data = JSON.stringify(view.document);
    if (view.hasEnded) {
      yield `event: end\ndata: ${data}\n\n`;
      return;
    }
    silent = data === sent ? silent + 1 : 0;
    if (data !== sent) yield `event: progress\ndata: ${data}\n\n`;
    else if (silent % silentPolls === 0) yield ': still here\n\n';
    sent = data;
    await sleep(pollMs, undefined, { signal: closed }).catch(() => undefined);
    if (closed.aborted) return;
    // While the queue server is away, there is nothing new to say.
    view = await find().catch((error: unknown) => {
      if (error instanceof ServiceError && error.code === 'queue_unavailable') return view;
      throw error;
    });
  }
}

function idOf({ params: given }: FastifyRequest): string {
  const id = typeof given === 'object' && given !== null && 'id' in given ? given.id : undefined;
  // As the service makes them.
  if (typeof id === 'string' && /^[\w-]{1,64}$/.test(id)) return id;
  throw new ServiceError('not_found', 'There is no such job.');
}

function keyOf({ headers }: FastifyRequest): string | undefined {
  const key = headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && key !== '' && key.length <= 255) return key;
  throw new ServiceError('invalid_option', 'Idempotency-Key must have 1 to 255 characters.');
}

function pairsOf(query: unknown): [string, string][] {
  const entries = typeof query === 'object' && query !== null ? Object.entries(query) : [];
  return entries.flatMap(([name, value]: [string, unknown]) =>
    (Array.isArray(value) ? value : [value]).map((each): [string, string] => [name, String(each)]),
  );
}
