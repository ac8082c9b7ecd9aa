import type { IncomingMessage } from 'node:http';
import { Counter, type Registry } from 'prom-client';
import { ServiceError } from '../errors.js';

/**
 * The bodies of admitted requests: those that are still coming, and those that have come and are held until their
 * request is answered.
 *
 * A client that sends a byte a second would keep a slot for as long as a request may take, and some hundreds of such
 * clients all slots. So when the queue is full, the upload that has lasted longest is evicted. A client that sends all
 * but the last byte would have its body kept in memory as long: so when all bodies together are larger than the limit,
 * the largest that is still coming is evicted.
 */
export interface Uploads {
  /**
   * @param evict answers the request with the error, and frees its slot at once
   * @throws ServiceError queue_full when there is no memory for another body
   */
  begin(request: IncomingMessage, evict: (full: ServiceError) => void): void;
  /** Counts a body that is refused by its headers, as it is larger than one may be. */
  tooLarge(): void;
  /** The request is over. Idempotent. */
  end(request: IncomingMessage): void;
  /** Evicts the upload that has lasted longest, if it has lasted longer than it may; whether it did. */
  evictSlowest(full: ServiceError): boolean;
}

/** Why a body is not taken: larger than one may be, more than all may be, or in the way of others. */
const refusals = ['too_large', 'no_memory', 'slow'] as const;

export interface UploadLimits {
  /** How long an upload is safe from eviction, in milliseconds. */
  readonly graceMs: number;
  /** Bytes of all bodies together. */
  readonly maxBytes: number;
  readonly registry: Registry;
}

interface Upload {
  readonly startedAt: number;
  readonly evict: (full: ServiceError) => void;
  /** Bytes of the body that have come, except those that came together with the header fields. */
  readonly bytes: () => number;
}

/** How often bodies are measured: short against the time in which a fast sender fills the memory. */
const measureIntervalMs = 100;

export function createUploads({ graceMs, maxBytes, registry }: UploadLimits): Uploads {
  const refused = new Counter({
    name: 'pcm_caption_refused_bodies_total',
    help: 'Bodies that were not taken, by reason',
    labelNames: ['reason'],
    registers: [registry],
  });
  for (const reason of refusals) refused.inc({ reason }, 0);

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

  /** Bodies that are complete are images that wait: they are not evicted. */
  const coming = (): [IncomingMessage, Upload][] => [...uploads].filter(([request]) => !request.complete);

  function measure(): void {
    while (bytesHeld() > maxBytes) {
      const [largest] = coming().sort(([, a], [, b]) => b.bytes() - a.bytes());
      if (largest === undefined) return;
      const [request, { evict }] = largest;
      end(request);
      refused.inc({ reason: 'no_memory' });
      evict(noMemory());
    }
  }

  return {
    begin(request, evict) {
      if (bytesHeld() > maxBytes) {
        refused.inc({ reason: 'no_memory' });
        throw noMemory();
      }
      uploads.set(request, { startedAt: performance.now(), evict, bytes: countBytes(request) });
      timer ??= setInterval(measure, measureIntervalMs).unref();
    },
    tooLarge() {
      refused.inc({ reason: 'too_large' });
    },
    end,
    evictSlowest(full) {
      const [longest] = coming();
      if (longest === undefined) return false;
      const [request, { startedAt, evict }] = longest;
      if (startedAt > performance.now() - graceMs) return false;
      end(request);
      refused.inc({ reason: 'slow' });
      evict(full);
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
