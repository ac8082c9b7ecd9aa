import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';

/** Sends server-sent events. */
export function sendEvents(reply: FastifyReply, events: readonly string[]): FastifyReply {
  return reply
    .type('text/event-stream; charset=utf-8')
    .header('cache-control', 'no-cache')
    .header('x-accel-buffering', 'no')
    .send(Readable.from(events));
}
