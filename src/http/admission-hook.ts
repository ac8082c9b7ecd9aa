import { setMaxListeners } from 'node:events';
import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import type { RequestContext } from '../captioner/captioner.js';
import { ServiceError } from '../errors.js';
import type { Priority } from '../scheduler/model.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { Permit } from '../scheduler/permit.js';
import type { Uploads } from './uploads.js';
import { ClientDisconnected, deadlineExceeded } from '../promises.js';

/** A request that was admitted. */
export interface AdmittedRequest extends RequestContext {
  /**
   * Exchanges the request's permit for one for each image, once they are counted. From then on the deadline ends each
   * image that is not done by itself, and not the whole request.
   *
   * @throws ServiceError queue_full; Error when the request has ended meanwhile
   */
  splitForImages(images: number): RequestContext[];
}

export interface AdmissionSettings {
  readonly requestTimeoutMs: number;
  readonly maxBodyBytes: number;
  /** The bodies of all routes that admit requests. */
  readonly uploads: Uploads;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by `admit`. */
    admitted: AdmittedRequest | null;
  }
}

/**
 * A hook that takes a permit when the headers of a request are known and before its body is read, so that a request
 * that cannot be served costs next to nothing. This is the one place that owns what a request holds (its permits, its
 * upload, its timer) and frees it, whichever way the request ends. At the deadline the request is answered, whatever it
 * was doing.
 *
 * The hook throws ServiceError body_too_large | unsupported_media_type | queue_full | not_ready | draining.
 */
export function admit(
  scheduler: Scheduler,
  priority: Priority,
  { requestTimeoutMs, maxBodyBytes, uploads }: AdmissionSettings,
): onRequestAsyncHookHandler {
  return async (request, reply) => {
    refuseBody(request, reply, maxBodyBytes, uploads);
    const startedAt = performance.now();
    // Fastify's `request.signal` aborts as soon as a body is read (fastify/fastify#6725); the response knows better.
    const controller = new AbortController();
    const { signal } = controller;
    setMaxListeners(0, signal); // each image of a batch listens
    const permit = admitOne(scheduler, uploads);
    const permits = [permit];
    let endsWhole = true;

    const endWith = (problem: ServiceError): void => {
      controller.abort(problem);
      if (endsWhole && !reply.sent) reply.send(problem);
    };
    const timer = setTimeout(() => {
      endWith(deadlineExceeded());
    }, requestTimeoutMs);
    const free = (): void => {
      clearTimeout(timer);
      uploads.end(request.raw);
      for (const each of permits) each.release();
      reply.raw.off('close', free);
      request.socket.off('close', free);
      // What still works for the request ends with it: the answer may be the problem of one of its images.
      controller.abort(
        reply.raw.writableFinished ? new Error('the request has been answered') : new ClientDisconnected(),
      );
    };
    reply.raw.once('close', free);
    // A pipelined response that has no socket yet is never closed.
    request.socket.once('close', free);
    // Whatever it throws, the permit is released with the answer.
    uploads.begin(request.raw, (full) => {
      permit.release();
      endWith(full);
    });

    const common = { startedAt, priority, signal, client: String(request.apiKey) };
    request.admitted = {
      permit,
      ...common,
      splitForImages(images) {
        const split = permit.split(images);
        permits.push(...split);
        endsWhole = false;
        return split.map((own) => ({ permit: own, ...common }));
      },
    };
  };
}

/** Refuses a body by its headers. */
function refuseBody(
  request: FastifyRequest,
  reply: FastifyReply,
  maxBodyBytes: number,
  uploads: Uploads,
): void {
  if (Number(request.headers['content-length']) > maxBodyBytes) {
    uploads.tooLarge();
    throw new ServiceError('body_too_large', `The body may have at most ${maxBodyBytes} bytes.`);
  }
  const coding = request.headers['content-encoding'] ?? 'identity';
  if (coding.toLowerCase() !== 'identity') {
    reply.header('accept-encoding', 'identity'); // RFC 9110, 15.5.16
    throw new ServiceError('unsupported_media_type', 'Send the body as it is, without a Content-Encoding.');
  }
}

/** Takes a permit, after evicting a slow upload when all slots are taken. */
function admitOne(scheduler: Scheduler, uploads: Uploads): Permit {
  try {
    return scheduler.admit(1);
  } catch (error) {
    const isFull = error instanceof ServiceError && error.code === 'queue_full';
    if (!isFull || !uploads.evictSlowest(evicted(error))) throw error;
    return scheduler.admit(1);
  }
}

function evicted({ retryAfterSeconds }: ServiceError): ServiceError {
  return new ServiceError(
    'queue_full',
    'All slots are taken, and of the bodies that are still coming this one took longest.',
    retryAfterSeconds,
  );
}

/** The context of a request whose route has the hook `admit`. */
export function admittedOf({ admitted }: FastifyRequest): AdmittedRequest {
  if (admitted === null) throw new Error('this route admits no requests');
  return admitted;
}

/**
 * Runs the work of an admitted request. The outcome is dropped when the request has been answered meanwhile, at its
 * deadline, or when its client has gone.
 */
export async function unlessAborted<T>(
  { signal }: RequestContext,
  reply: FastifyReply,
  work: () => Promise<T>,
): Promise<T | FastifyReply> {
  try {
    const result = await work();
    return reply.sent || clientDisconnected(signal) ? await reply : result;
  } catch (error) {
    if (reply.sent || clientDisconnected(signal)) return await reply;
    throw error;
  }
}

export function clientDisconnected({ reason }: AbortSignal): boolean {
  return reason instanceof ClientDisconnected;
}
