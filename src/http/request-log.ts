import { type FastifyReply, type FastifyRequest, LogController } from 'fastify';

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
    _request: FastifyRequest,
    reply: FastifyReply,
  ): void {
    reply.log.info({ ...line(reply), status: reply.statusCode }, 'answered');
  }
}

function line({ request, elapsedTime }: FastifyReply): object {
  // The route's pattern, not the path: a path may be anything.
  const route = request.routeOptions.url ?? 'none';
  return { method: request.method, route, ms: Math.round(elapsedTime * 100) / 100 };
}
