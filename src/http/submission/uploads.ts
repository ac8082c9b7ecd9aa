import type { IncomingMessage } from 'node:http';
import { ServiceError } from '../../problem.js';

/**
 * The bodies of requests that have a place: those that are still coming, and those that have come and are held until their
 * request is answered.
 *
 * Whoever sends a byte a second would keep a place from others for as long as a request may take, and some hundreds of them
 * all places. So when the queue is full, the upload that has lasted longest gives its place to the request that comes.
 * And whoever sends all but the last byte would have it kept in memory as long: so when bodies together are more than they
 * may be, the largest that is still coming gives way.
 */
export interface Uploads {
  /**
   * @param giveWay answers the request with the error, and frees its place at once
   * @throws ServiceError queue_full when there is no memory for another body
   */
  begin(request: IncomingMessage, giveWay: (full: ServiceError) => void): void;
  /** The request is over. Idempotent. */
  end(request: IncomingMessage): void;
  /** Lets the longest upload give way, if one has lasted longer than it may; whether one did. */
  makeRoom(full: ServiceError): boolean;
}

export interface UploadLimits {
  /** For which an upload keeps its place in any case. */
  readonly graceMs: number;
  /** Of all bodies together. */
  readonly maxBytes: number;
}

interface Upload {
  readonly startedAt: number;
  readonly giveWay: (full: ServiceError) => void;
  /** What has come of the body, but for what came together with the header fields. */
  readonly bytes: () => number;
}

/** How often bodies are measured: short against the time in which a fast sender fills the memory. */
const measureEveryMs = 100;

export function createUploads({ graceMs, maxBytes }: UploadLimits): Uploads {
  /** In the order in which they began. */
  const uploads = new Map<IncomingMessage, Upload>();
  let timer: NodeJS.Timeout | undefined;

  const bytesHeld = (): number => [...uploads.values()].reduce((sum, { bytes }) => sum + bytes(), 0);

  function end(request: IncomingMessage): void {
    uploads.delete(request);
    if (uploads.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  }

  /** Bodies that are complete are images that wait: they keep their place. */
  const coming = (): [IncomingMessage, Upload][] => [...uploads].filter(([request]) => !request.complete);

  function measure(): void {
    while (bytesHeld() > maxBytes) {
      const [largest] = coming().sort(([, a], [, b]) => b.bytes() - a.bytes());
      if (largest === undefined) return;
      const [request, { giveWay }] = largest;
      end(request);
      giveWay(noMemory());
    }
  }

  return {
    begin(request, giveWay) {
      if (bytesHeld() > maxBytes) throw noMemory();
      uploads.set(request, { startedAt: performance.now(), giveWay, bytes: countBytes(request) });
      timer ??= setInterval(measure, measureEveryMs).unref();
    },
    end,
    makeRoom(full) {
      const [longest] = coming();
      if (longest === undefined) return false;
      const [request, { startedAt, giveWay }] = longest;
      if (startedAt > performance.now() - graceMs) return false;
      end(request);
      giveWay(full);
      return true;
    },
  };
}

/** Bytes of the connection from now to the end of the body: it may be read by whoever wants to, in whatever way. */
function countBytes(request: IncomingMessage): () => number {
  const { socket } = request;
  const before = socket.bytesRead;
  let whole: number | undefined;
  request.once('end', () => {
    whole = socket.bytesRead - before;
  });
  return () => whole ?? socket.bytesRead - before;
}

function noMemory(): ServiceError {
  return new ServiceError(
    'queue_full',
    'The bodies of all requests together are more than are held at once.',
  );
}
