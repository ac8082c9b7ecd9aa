import PQueue from 'p-queue';
import { decodeImage, type DecodedImage, type DecodeLimits, type PixelTarget } from './decode.js';

export interface DecodeRequest extends DecodeLimits {
  /** Images of a batch upload are decoded when no single one waits. */
  readonly priority: 'single' | 'batch';
  /** An image whose client has gone while it waited is not decoded. */
  readonly signal: AbortSignal;
}

/** Decodes images, a bounded number at a time, first come first served. Throws what `decodeImage` throws. */
export type Decoder = (
  bytes: Uint8Array,
  target: PixelTarget,
  request: DecodeRequest,
) => Promise<DecodedImage>;

/** @param concurrency images decoded side by side; each takes one thread of libuv's pool, then one of its own */
export function createDecoder(concurrency: number): Decoder {
  const queue = new PQueue({ concurrency });
  return (bytes, target, request) =>
    queue.add(
      () => {
        request.signal.throwIfAborted();
        return decodeImage(bytes, target, request);
      },
      { priority: request.priority === 'single' ? 1 : 0 },
    );
}
