import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import type { Engine, Priority, Reservation } from '../../engine/engine.js';
import { ServiceError } from '../../problem.js';

/** Places in the engine's queue, and the time the request has. */
export interface Admission {
  readonly reservation: Reservation;
  /** In the milliseconds of `performance.now()`. */
  readonly startedAt: number;
  readonly deadline: number;
  /** Aborted when the client has gone, or the deadline has passed and was answered. */
  readonly signal: AbortSignal;
}

export interface AdmissionSettings {
  readonly requestTimeoutMs: number;
  readonly maxBodyBytes: number;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by `admit`. */
    admission: Admission | null;
  }
}

/**
 * A hook that reserves places when the headers of a request are known and before its body is read, so that a request
 * that cannot be served costs next to nothing. Places not used are freed when the response ends or the client goes;
 * at the deadline the request is answered, whatever it was doing.
 * It throws ServiceError body_too_large | queue_full | not_ready | draining.
 */
export function admit(
  engine: Engine,
  { images, priority }: { images: number; priority: Priority },
  { requestTimeoutMs, maxBodyBytes }: AdmissionSettings,
): onRequestAsyncHookHandler {
  return async (request, reply) => {
    if (Number(request.headers['content-length']) > maxBodyBytes) {
      throw new ServiceError('body_too_large', `The body may have at most ${maxBodyBytes} bytes.`);
    }
    const startedAt = performance.now();
    const deadline = startedAt + requestTimeoutMs;
    // Fastify's `request.signal` aborts as soon as a body is read (fastify/fastify#6725); the response knows better.
    const controller = new AbortController();
    const { signal } = controller;
    const reservation = engine.reserve(images, { deadline, priority, signal });
    const timer = setTimeout(() => {
      const late = new ServiceError('deadline_exceeded', 'The answer was not ready in time.');
      controller.abort(late);
      if (!reply.sent) reply.send(late);
    }, requestTimeoutMs);
    reply.raw.once('close', () => {
      clearTimeout(timer);
      if (!reply.raw.writableFinished) controller.abort();
      reservation.release();
    });
    request.admission = { reservation, startedAt, deadline, signal };
  };
}

/** The admission of a request whose route has the hook `admit`. */
export function admissionOf({ admission }: FastifyRequest): Admission {
  if (admission === null) throw new Error('this route admits no requests');
  return admission;
}

/**
 * Runs the work of an admitted request. Once the request has been answered (its deadline passed) or its client has
 * gone, the outcome of the work is of no interest any more.
 */
export async function whileWanted<T>(
  { signal }: Admission,
  reply: FastifyReply,
  work: () => Promise<T>,
): Promise<T | FastifyReply> {
  try {
    const result = await work();
    return signal.aborted ? await reply : result;
  } catch (error) {
    if (signal.aborted) return await reply;
    throw error;
  }
}
