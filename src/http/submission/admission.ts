import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import type { Engine, Priority, Reservation, ReserveOptions } from '../../engine/engine.js';
import { ServiceError } from '../../problem.js';
import type { Uploads } from './uploads.js';

/** Places in the engine's queue, and the time there is: all that an image needs on its way. */
export interface Admitted {
  readonly reservation: Reservation;
  /** In the milliseconds of `performance.now()`. */
  readonly startedAt: number;
  readonly deadline: number;
  readonly priority: Priority;
  /** Aborted when the client has gone, or at the deadline: then its reason is the problem. */
  readonly signal: AbortSignal;
}

/** A request that was admitted. */
export interface Admission extends Admitted {
  /**
   * Once the images of a batch are counted: takes a place for each in exchange for the one taken at first, all or none,
   * and lets the deadline end the images that are not done by then, each by itself, in place of the whole request.
   * @throws ServiceError queue_full | not_ready | draining
   */
  admitEach(images: number): void;
}

export interface AdmissionSettings {
  readonly requestTimeoutMs: number;
  readonly maxBodyBytes: number;
  /** Of all routes that admit: they share the places. */
  readonly uploads: Uploads;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by `admit`. */
    admission: Admission | null;
  }
}

/**
 * A hook that reserves a place when the headers of a request are known and before its body is read, so that a request
 * that cannot be served costs next to nothing. When all places are taken, a slow upload may give way. Places not used
 * are freed when the response ends or the client goes;
 * at the deadline the request is answered, whatever it was doing.
 * It throws ServiceError body_too_large | unsupported_media_type | queue_full | not_ready | draining.
 */
export function admit(
  engine: Engine,
  priority: Priority,
  { requestTimeoutMs, maxBodyBytes, uploads }: AdmissionSettings,
): onRequestAsyncHookHandler {
  return async (request, reply) => {
    if (Number(request.headers['content-length']) > maxBodyBytes) {
      throw new ServiceError('body_too_large', `The body may have at most ${maxBodyBytes} bytes.`);
    }
    const coding = request.headers['content-encoding'] ?? 'identity';
    if (coding.toLowerCase() !== 'identity') {
      reply.header('accept-encoding', 'identity'); // RFC 9110, 15.5.16
      throw new ServiceError('unsupported_media_type', 'Send the body as it is, without a Content-Encoding.');
    }
    const startedAt = performance.now();
    const deadline = startedAt + requestTimeoutMs;
    // Fastify's `request.signal` aborts as soon as a body is read (fastify/fastify#6725); the response knows better.
    const controller = new AbortController();
    const { signal } = controller;
    const options = { deadline, priority, signal };
    let reservation = reserveOne(engine, options, uploads);
    let endsWhole = true;
    const endWith = (problem: ServiceError): void => {
      controller.abort(problem);
      if (endsWhole && !reply.sent) reply.send(problem);
    };
    const timer = setTimeout(() => {
      endWith(new ServiceError('deadline_exceeded', 'The answer was not ready in time.'));
    }, requestTimeoutMs);
    reply.raw.once('close', () => {
      clearTimeout(timer);
      uploads.end(request.raw);
      if (!reply.raw.writableFinished) controller.abort();
      reservation.release();
    });
    // Whatever it throws, the place is freed with the answer.
    uploads.begin(request.raw, (full) => {
      reservation.release();
      endWith(full);
    });
    request.admission = {
      get reservation() {
        return reservation;
      },
      startedAt,
      deadline,
      priority,
      signal,
      admitEach(images) {
        reservation.release();
        reservation = engine.reserve(images, options);
        endsWhole = false;
      },
    };
  };
}

/** Reserves a place, that of a slow upload when there is no other. */
function reserveOne(engine: Engine, options: ReserveOptions, uploads: Uploads): Reservation {
  try {
    return engine.reserve(1, options);
  } catch (error) {
    const isFull = error instanceof ServiceError && error.code === 'queue_full';
    if (!isFull || !uploads.makeRoom(tookLongest(error))) throw error;
    return engine.reserve(1, options);
  }
}

function tookLongest({ retryAfterSeconds }: ServiceError): ServiceError {
  return new ServiceError(
    'queue_full',
    'All places are taken, and of the bodies that are still coming this one took longest.',
    retryAfterSeconds,
  );
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
    return reply.sent || hasGone(signal) ? await reply : result;
  } catch (error) {
    if (reply.sent || hasGone(signal)) return await reply;
    throw error;
  }
}

/** Whether nobody is there to be answered any more; a deadline that has passed still wants an answer. */
export function hasGone(signal: AbortSignal): boolean {
  return signal.aborted && !(signal.reason instanceof ServiceError);
}
