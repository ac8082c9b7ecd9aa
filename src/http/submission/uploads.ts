import type { IncomingMessage } from 'node:http';
import type { ServiceError } from '../../problem.js';

/**
 * Requests that have a place and whose bodies are still coming. Whoever sends a byte a second would keep a place from others
 * for as long as a request may take, and some hundreds of them all places. So when the queue is full, the upload that
 * has lasted longest gives its place to the request that comes.
 */
export interface Uploads {
  /** @param giveWay answers the request with the error, and frees its place at once */
  begin(request: IncomingMessage, giveWay: (full: ServiceError) => void): void;
  /** The request is over, or its body is of no interest any more. Idempotent. */
  end(request: IncomingMessage): void;
  /** Lets the longest upload give way, if one has lasted longer than it may; whether one did. */
  makeRoom(full: ServiceError): boolean;
}

interface Upload {
  readonly startedAt: number;
  readonly giveWay: (full: ServiceError) => void;
}

/** @param graceMs for which an upload keeps its place in any case */
export function createUploads(graceMs: number): Uploads {
  /** In the order in which they began. */
  const uploads = new Map<IncomingMessage, Upload>();
  return {
    begin(request, giveWay) {
      uploads.set(request, { startedAt: performance.now(), giveWay });
    },
    end(request) {
      uploads.delete(request);
    },
    makeRoom(full) {
      const latestStart = performance.now() - graceMs;
      for (const [request, { startedAt, giveWay }] of uploads) {
        if (startedAt > latestStart) return false;
        uploads.delete(request);
        // A body that is complete is an image that waits, and keeps its place.
        if (request.complete) continue;
        giveWay(full);
        return true;
      }
      return false;
    },
  };
}
