import PQueue from 'p-queue';
import type { DecodedImage, DecodeLimits, PixelTarget } from './decode.js';
import { decodeAside } from './decode-aside.js';

export interface DecodeRequest extends Omit<DecodeLimits, 'fastJpeg'> {
  /** Images of a batch upload are decoded when no single one waits. */
  readonly priority: 'single' | 'batch';
  /** An image whose client has gone while it waited is not decoded. */
  readonly signal: AbortSignal;
}

/** Decodes images, a bounded number at a time, first come first served. Throws what `decodeAside` throws. */
export type Decoder = (
  bytes: Uint8Array,
  target: PixelTarget,
  request: DecodeRequest,
) => Promise<DecodedImage>;

export interface DecoderOptions extends Pick<DecodeLimits, 'fastJpeg'> {
  /** Images decoded side by side; each takes one thread of libuv's pool, then one of its own. */
  readonly concurrency: number;
}

export function createDecoder({ concurrency, fastJpeg }: DecoderOptions): Decoder {
  const queue = new PQueue({ concurrency });
  return (bytes, target, { maxPixels, deadline, priority, signal }) =>
    queue.add(
      () => {
        signal.throwIfAborted();
        return decodeAside(bytes, target, { maxPixels, deadline, fastJpeg });
      },
      { priority: priority === 'single' ? 1 : 0 },
    );
}
