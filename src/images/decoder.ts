import PQueue from 'p-queue';
import type { DecodedImage, DecodeLimits, PixelTarget } from './decode.js';
import { decodeAside } from './decode-aside.js';
import { createPixelBudget } from './pixel-budget.js';

export interface DecodeRequest extends Pick<DecodeLimits, 'deadline'> {
  /** Images of a batch upload are decoded when no single one waits. */
  readonly priority: 'single' | 'batch';
  /** An image whose client has gone while it waited is not decoded. */
  readonly signal: AbortSignal;
}

/** Decodes images, a bounded number and a bounded size at a time, first come first served. Throws what `decodeAside` throws. */
export type Decoder = (
  bytes: Uint8Array,
  target: PixelTarget,
  request: DecodeRequest,
) => Promise<DecodedImage>;

/** The settings of the service that decoding minds; see config.ts for their meaning. */
export interface DecoderOptions extends Pick<DecodeLimits, 'fastJpeg' | 'maxPixels'> {
  /** Images decoded side by side; each takes one thread of libuv's pool, then one of its own. */
  readonly decoders: number;
}

/** @param budget of the pixels that are decoded side by side */
export function createDecoder(
  { decoders, fastJpeg, maxPixels }: DecoderOptions,
  budget = createPixelBudget(maxPixels),
): Decoder {
  const queue = new PQueue({ concurrency: decoders });
  const room = { budget, allowance: Math.floor(maxPixels / decoders) };
  return (bytes, target, { deadline, priority, signal }) =>
    queue.add(
      () => {
        signal.throwIfAborted();
        return decodeAside(bytes, target, { maxPixels, deadline, fastJpeg }, room);
      },
      { priority: priority === 'single' ? 1 : 0 },
    );
}
