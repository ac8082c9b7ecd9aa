import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { type Static, Type } from 'typebox';
import { type ErrorCode, errorCodes, ServiceError } from '../errors.js';

export const problemMediaType = 'application/problem+json';

/** The HTTP status of each error code. */
export const statusOf: Readonly<Record<ErrorCode, number>> = {
  missing_image: 400,
  too_many_images: 400,
  empty_image: 400,
  malformed_request: 400,
  malformed_json: 400,
  malformed_multipart: 400,
  invalid_base64: 400,
  invalid_option: 400,
  url_not_allowed: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  body_too_large: 413,
  unsupported_media_type: 415,
  unsupported_image_format: 415,
  range_not_satisfiable: 416,
  image_unreadable: 422,
  image_too_many_pixels: 422,
  image_too_complex: 422,
  url_unreachable: 422,
  metadata_unreadable: 422,
  headers_too_large: 431,
  rate_limited: 429,
  image_crashes_model: 500,
  internal: 500,
  output_in_use: 409,
  idempotency_key_reused: 422,
  queue_unavailable: 503,
  storage_unavailable: 502,
  queue_full: 503,
  not_ready: 503,
  draining: 503,
  deadline_exceeded: 504,
};

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: 'A URI for the kind of problem; it names the code.' }),
    title: Type.String({ description: 'The kind of problem in words.' }),
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    detail: Type.String({ description: 'What happened this time.' }),
    code: Type.String({ description: 'Stable code of the problem, to branch on.' }),
    requestId: Type.String({ description: 'The `x-request-id` under which the service logged it.' }),
    error: Type.Optional(
      Type.Object(
        {
          message: Type.String(),
          type: Type.String(),
          code: Type.String(),
        },
        {
          additionalProperties: false,
          title: 'OpenAiError',
          description: 'Of `/v1/embeddings` and `/v1/models` only: the same for clients of OpenAI.',
        },
      ),
    ),
  },
  { additionalProperties: false, title: 'Problem', description: 'What went wrong (RFC 9457).' },
);

export type Problem = Static<typeof ProblemSchema>;

export function problemDocument({ code, detail }: ServiceError, requestId: string): Problem {
  const { title } = errorCodes[code];
  return { type: `urn:problem-type:${code}`, title, status: statusOf[code], detail, code, requestId };
}

/** Errors of Fastify itself, which refuses a request before a handler sees it. */
const frameworkProblems: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['body_too_large', 'The body is larger than this service takes.'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'unsupported_media_type',
    'Send multipart/form-data, application/json, or an image as image/… or application/octet-stream.',
  ],
  FST_ERR_CTP_INVALID_JSON_BODY: ['malformed_json', 'The body is not valid JSON.'],
  FST_ERR_CTP_EMPTY_JSON_BODY: ['malformed_json', 'The body is empty, which is not JSON.'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['image_unreadable', 'The body is not as long as Content-Length says.'],
  FST_ERR_BAD_URL: ['not_found', 'The path is not a valid one.'],
  ECONNRESET: ['malformed_request', 'The connection was closed before the body had come.'],
};

/** Errors of the plugin that sends files. */
const fileProblems: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  403: ['not_found', 'There is nothing at this path.'],
  404: ['not_found', 'There is nothing at this path.'],
  416: ['range_not_satisfiable', 'The file is shorter.'],
};

/** Seconds a client should wait at a 503 that does not say. */
const defaultRetryAfterSeconds = 1;

/** Answers every error with a problem document (RFC 9457). */
export const problemsPlugin = fp((app: FastifyInstance, _options: object, done: () => void) => {
  app.addHook('onRequest', (request, reply, next) => {
    reply.header('x-request-id', request.id);
    next();
  });
  app.setErrorHandler((error, request, reply) => {
    // Where no route is, what is wrong with the body does not matter.
    return sendProblem(request.is404 ? notFoundOrNotAllowed(app, request, reply) : error, request, reply);
  });
  app.setNotFoundHandler((request, reply) => {
    return sendProblem(notFoundOrNotAllowed(app, request, reply), request, reply);
  });
  done();
});

/** The error of a path where no route is, or only routes of other methods, which are listed in `Allow`. */
function notFoundOrNotAllowed(
  app: FastifyInstance,
  request: FastifyRequest,
  reply: FastifyReply,
): ServiceError {
  const path = request.url.split('?', 1)[0] ?? '';
  // A path with what stands for a pattern in a route is none of ours, and not to be parsed as one.
  const methodsOf = (url: string) =>
    /[*:()]/.test(url) ? [] : app.supportedMethods.filter((method) => app.hasRoute({ method, url }));
  const allowed = methodsOf(path);
  if (allowed.length === 0) {
    const isSlashed = /.\/$/.test(path) && methodsOf(path.slice(0, -1)).length > 0;
    return new ServiceError(
      'not_found',
      isSlashed
        ? 'There is nothing at this path; there is without the slash at its end.'
        : 'There is nothing at this path.',
    );
  }
  reply.header('allow', allowed.join(', '));
  return new ServiceError('method_not_allowed', `This path takes ${allowed.join(', ')}.`);
}

/** The problems that requests were answered with, for their lines in the log. */
const sent = new WeakMap<FastifyRequest, ServiceError>();

export function problemSentTo(request: FastifyRequest): ServiceError | undefined {
  return sent.get(request);
}

/** Answers a request with the problem an error stands for. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = refuse(error, request, reply);
  return reply.type(problemMediaType).send(problemDocument(problem, request.id));
}

/** Answers with the problem, and repeats it in the member that clients of OpenAI read. */
export function sendProblemForOpenAi(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const problem = refuse(error, request, reply);
  const { detail: message, code } = problem;
  const type = statusOf[code] >= 500 ? 'server_error' : 'invalid_request_error';
  const document = { ...problemDocument(problem, request.id), error: { message, type, code } };
  return reply.type(problemMediaType).send(document);
}

/**
 * Gives an answer the status of the problem that an error stands for, and says when the client may try again; the body is
 * the caller's.
 */
export function refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): ServiceError {
  const problem = problemOf(error);
  logIfUnexpected(error, problem, request.log);
  sent.set(request, problem);
  const status = statusOf[problem.code];
  reply.code(status);
  if (status === 503 || problem.retryAfterSeconds !== undefined) {
    reply.header(
      'retry-after',
      Math.max(1, Math.ceil(problem.retryAfterSeconds ?? defaultRetryAfterSeconds)),
    );
  }
  return problem;
}

/** Logs an error of a part of a request, and returns the problem that the client sees. */
export function reportProblem(error: unknown, log: FastifyBaseLogger): ServiceError {
  const problem = problemOf(error);
  logIfUnexpected(error, problem, log);
  if (problem.code !== 'internal') {
    const level = statusOf[problem.code] >= 500 ? 'warn' : 'info';
    log[level](factsOf(problem), 'refused');
  }
  return problem;
}

/** What no client should see goes to the log alone. */
function logIfUnexpected(error: unknown, { code }: ServiceError, log: FastifyBaseLogger): void {
  if (code === 'internal') log.error({ err: error }, 'unexpected error');
}

/** What the log says of a problem. */
export function factsOf(problem: ServiceError): object {
  const { code, detail } = problem;
  return { code, detail, cause: causeOf(problem) };
}

function problemOf(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 0;
  const [problemCode, detail] = frameworkProblems[code] ??
    fileProblems[status] ?? ['internal', 'The service failed; its log has the reason under this request id.'];
  return new ServiceError(problemCode, detail);
}

function causeOf({ cause }: ServiceError): string | undefined {
  return cause instanceof Error ? cause.message : undefined;
}
