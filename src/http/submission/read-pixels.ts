import type { Engine } from '../../engine/engine.js';
import type { DecodedImage, PixelTarget } from '../../images/decode.js';
import type { Decoder } from '../../images/decoder.js';
import type { FetchImage } from '../../images/fetch-image.js';
import { ServiceError } from '../../problem.js';
import type { Admitted } from './admission.js';
import { fromBase64 } from './json.js';
import type { ImageSource } from './submission.js';

/** What an image goes through on its way to an answer. */
export interface ImageWay {
  readonly engine: Engine;
  readonly decoder: Decoder;
  readonly maxBodyBytes: number;
  /** Absent where images may not be given by URL. */
  readonly fetchImage?: FetchImage;
}

export interface ReadImage {
  /** [height, width, 3] of the target, row-major sRGB. */
  readonly pixels: Uint8Array<ArrayBuffer>;
  /** The image that was sent, for the answer. */
  readonly image: Omit<DecodedImage, 'pixels'>;
  /** Milliseconds waiting for a decoder, and decoding. */
  readonly decodeMs: number;
}

/** @throws ServiceError invalid_base64, and what fetching and decoding throw */
export async function readPixels(
  way: ImageWay,
  source: ImageSource,
  target: PixelTarget,
  admission: Admitted,
): Promise<ReadImage> {
  const { deadline, priority, signal } = admission;
  const bytes = await readBytes(way, source, admission);
  const decodingFrom = performance.now();
  const { pixels, ...image } = await way.decoder(bytes, target, { deadline, priority, signal });
  return { pixels, image, decodeMs: performance.now() - decodingFrom };
}

async function readBytes(way: ImageWay, source: ImageSource, admission: Admitted): Promise<Buffer> {
  switch (source.kind) {
    case 'bytes':
      return source.bytes;
    case 'base64':
      return fromBase64(source.text);
    case 'url':
      return fetchBytes(way, source.url, admission);
  }
}

async function fetchBytes(
  { fetchImage, maxBodyBytes }: ImageWay,
  url: unknown,
  { deadline, signal }: Admitted,
): Promise<Buffer> {
  if (fetchImage === undefined) {
    throw new ServiceError('url_not_allowed', 'Send the image itself; this service fetches no URLs.');
  }
  if (typeof url !== 'string') throw new ServiceError('url_not_allowed', 'url must be a text.');
  return fetchImage(url, { maxBytes: maxBodyBytes, deadline, signal });
}
