import pLimit from 'p-limit';
import { decodeImage, type DecodedImage, type DecodeLimits, type PixelTarget } from './decode.js';

export interface DecodeRequest extends DecodeLimits {
  /** An image whose client has gone while it waited is not decoded. */
  readonly signal: AbortSignal;
}

/** Decodes images, a bounded number at a time, first come first served. Throws what `decodeImage` throws. */
export type Decoder = (
  bytes: Uint8Array,
  target: PixelTarget,
  request: DecodeRequest,
) => Promise<DecodedImage>;

/** @param concurrency images decoded side by side; each takes one thread of libuv's pool */
export function createDecoder(concurrency: number): Decoder {
  const limit = pLimit(concurrency);
  return (bytes, target, request) =>
    limit(() => {
      request.signal.throwIfAborted();
      return decodeImage(bytes, target, request);
    });
}
