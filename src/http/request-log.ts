import { type FastifyReply, type FastifyRequest, LogController } from 'fastify';
import { factsOf, problemSentTo } from './problem-details.js';

/** What machines ask all day; their lines would bury the others. */
const quietRoutes: readonly string[] = ['/healthz', '/readyz', '/metrics'];

/**
 * One line for each request: what was asked, how it ended, how long it took, under the request's id. The query is
 * left out, since options are words of a client; images and captions never reach a log.
 */
export class RequestLog extends LogController {
  override incomingRequest(_request: FastifyRequest, reply: FastifyReply): void {
    reply.raw.once('close', () => {
      if (!reply.raw.writableFinished) reply.log.info(line(reply), 'client has gone');
    });
  }

  override requestCompleted(
    _error: Error | null | undefined,
    request: FastifyRequest,
    reply: FastifyReply,
  ): void {
    const { statusCode: status } = reply;
    const problem = problemSentTo(request);
    const isQuiet = quietRoutes.includes(request.routeOptions.url ?? '');
    const level = isQuiet ? 'debug' : status >= 500 ? 'warn' : 'info';
    reply.log[level](
      { ...line(reply), status, ...(problem !== undefined && factsOf(problem)) },
      problem === undefined ? 'answered' : 'refused',
    );
  }
}

function line({ request, elapsedTime }: FastifyReply): object {
  // The route's pattern, not the path: a path may be anything.
  const route = request.routeOptions.url ?? 'none';
  return { method: request.method, route, ms: Math.round(elapsedTime * 100) / 100 };
}

/**
 * The trace that a request belongs to, by its `traceparent` header (W3C Trace Context): 32 hexadecimal digits.
 * Undefined where there is none or it is not valid: a trace that nobody else knows would help nobody. Of a version later
 * than 00, whatever follows is left aside, as the recommendation asks.
 */
export function traceIdOf(traceparent: string | string[] | undefined): string | undefined {
  if (typeof traceparent !== 'string') return undefined;
  const [, version, traceId, parentId, rest] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/.exec(traceparent) ?? [];
  const isValid =
    version !== 'ff' &&
    !(version === '00' && rest !== undefined) &&
    traceId !== none(32) &&
    parentId !== none(16);
  return isValid ? traceId : undefined;
}

/** What the recommendation calls invalid. */
function none(digits: number): string {
  return '0'.repeat(digits);
}
