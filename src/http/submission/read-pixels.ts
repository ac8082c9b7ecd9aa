import type { Engine } from '../../engine/engine.js';
import type { DecodedImage, PixelTarget } from '../../images/decode.js';
import type { Decoder } from '../../images/decoder.js';
import { ServiceError } from '../../problem.js';
import type { Admission } from './admission.js';
import { fromBase64 } from './json.js';
import type { ImageSource } from './submission.js';

/** What an image goes through on its way to an answer. */
export interface ImageWay {
  readonly engine: Engine;
  readonly decoder: Decoder;
  readonly maxPixels: number;
}

export interface ReadImage {
  /** [height, width, 3] of the target, row-major sRGB. */
  readonly pixels: Uint8Array;
  /** The image that was sent, for the answer. */
  readonly image: Omit<DecodedImage, 'pixels'>;
  /** Milliseconds waiting for a decoder, and decoding. */
  readonly decodeMs: number;
}

/** @throws ServiceError invalid_base64 | url_not_allowed, and what the decoder throws */
export async function readPixels(
  { decoder, maxPixels }: ImageWay,
  source: ImageSource,
  target: PixelTarget,
  { deadline, priority, signal }: Admission,
): Promise<ReadImage> {
  const bytes = readBytes(source);
  const decodingFrom = performance.now();
  const { pixels, ...image } = await decoder(bytes, target, { maxPixels, deadline, priority, signal });
  return { pixels, image, decodeMs: performance.now() - decodingFrom };
}

function readBytes(source: ImageSource): Buffer {
  switch (source.kind) {
    case 'bytes':
      return source.bytes;
    case 'base64':
      return fromBase64(source.text);
    case 'url':
      throw new ServiceError('url_not_allowed', 'Send the image itself; this service fetches no URLs.');
  }
}
