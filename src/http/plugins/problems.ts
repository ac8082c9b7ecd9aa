import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { type ProblemCode, problems, ServiceError } from '../../problem.js';
import { problemDocument, problemMediaType } from '../schemas/problem.js';

/** What Fastify itself refuses, before a handler sees it. */
const frameworkProblems: Readonly<Record<string, readonly [ProblemCode, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['body_too_large', 'The body is larger than this service takes.'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'unsupported_media_type',
    'Send multipart/form-data, application/json, or an image with its image/… type.',
  ],
  FST_ERR_CTP_INVALID_JSON_BODY: ['malformed_json', 'The body is not valid JSON.'],
  FST_ERR_CTP_EMPTY_JSON_BODY: ['malformed_json', 'The body is empty, which is not JSON.'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['image_unreadable', 'The body is not as long as Content-Length says.'],
  FST_ERR_BAD_URL: ['not_found', 'The path is not a valid one.'],
};

/** Seconds a client should wait at a 503 that does not say. */
const defaultRetryAfterSeconds = 1;

/** Maps every error to a problem document (RFC 9457): the one place where statuses are decided. */
export const problemsPlugin = fp((app: FastifyInstance, _options: object, done: () => void) => {
  app.addHook('onRequest', (request, reply, next) => {
    reply.header('x-request-id', request.id);
    next();
  });
  app.setErrorHandler((error, request, reply) => {
    // Where no route is, what is wrong with the body does not matter.
    return sendProblem(request.is404 ? whyThereIsNoRoute(app, request, reply) : error, request, reply);
  });
  app.setNotFoundHandler((request, reply) => {
    return sendProblem(whyThereIsNoRoute(app, request, reply), request, reply);
  });
  done();
});

/** Whether nothing is at the path, or only other methods are: then they are in `Allow`. */
function whyThereIsNoRoute(app: FastifyInstance, request: FastifyRequest, reply: FastifyReply): ServiceError {
  const path = request.url.split('?', 1)[0] ?? '';
  const methodsOf = (url: string) => app.supportedMethods.filter((method) => app.hasRoute({ method, url }));
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

/** Answers a request with the problem an error stands for. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = reportProblem(error, request.log);
  const { status } = problems[problem.code];
  if (status === 503 || problem.retryAfterSeconds !== undefined) {
    reply.header(
      'retry-after',
      Math.max(1, Math.ceil(problem.retryAfterSeconds ?? defaultRetryAfterSeconds)),
    );
  }
  return reply.code(status).type(problemMediaType).send(problemDocument(problem, request.id));
}

/** The problem an error stands for. What no client should see goes to the log alone. */
export function reportProblem(error: unknown, log: FastifyBaseLogger): ServiceError {
  const problem = problemOf(error);
  if (problem.code === 'internal') {
    log.error({ err: error }, 'unexpected error');
  } else {
    const level = problems[problem.code].status >= 500 ? 'warn' : 'info';
    log[level]({ code: problem.code, detail: problem.detail, cause: causeOf(problem) }, 'refused');
  }
  return problem;
}

function problemOf(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const [problemCode, detail] = frameworkProblems[code] ?? [
    'internal',
    'The service failed; its log has the reason under this request id.',
  ];
  return new ServiceError(problemCode, detail);
}

function causeOf({ cause }: ServiceError): string | undefined {
  return cause instanceof Error ? cause.message : undefined;
}
