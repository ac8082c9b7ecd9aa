import pLimit from 'p-limit';
import { decodeImage } from '../../src/images/decode.js';
import type { ImageDecoder } from '../../src/images/decode-pool.js';
import type { DecodeLimits } from '../../src/images/limits.js';
import { abortable } from '../../src/promises.js';

/**
 * Decodes in this process: tests of other things need no decode processes. One image at a time, as they do: libvips has one
 * buffer of errors for all of its threads, so that what is wrong with one image would be said of another.
 */
export function createInProcessDecoder(limits: DecodeLimits): Pick<ImageDecoder, 'decode'> {
  const inTurn = pLimit(1);
  return {
    decode: (bytes, target, { signal }) =>
      abortable(
        inTurn(() => decodeImage(bytes, target, limits)),
        signal,
      ),
  };
}
