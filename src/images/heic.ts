import type Libheif from 'libheif-js/wasm-bundle.js';
import { ServiceError } from '../errors.js';
import { type DecodeLimits, refuseLargeImage, type Size } from './limits.js';

/** RGBA, row-major, upright. */
export interface HeicPixels extends Size {
  readonly data: Buffer;
}

/**
 * Decodes the primary image of a HEIC file by libheif, which applies its rotation and mirroring and joins its tiles.
 * libheif is in WebAssembly, 8 MB of code that is loaded with the first HEIC.
 *
 * @throws ServiceError image_unreadable, with the cause, whatever libheif throws | image_too_many_pixels
 */
export async function decodeHeic(file: Uint8Array, limits: DecodeLimits): Promise<HeicPixels> {
  const { default: libheif } = await import('libheif-js/wasm-bundle.js');
  await libheif.ready;
  try {
    return decodePrimary(libheif, file, limits);
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause;
    throw unreadable(cause);
  }
}

/** Calls the bindings themselves: what `HeifImage.display` throws reaches no caller, and it trusts the header's size. */
function decodePrimary(libheif: typeof Libheif, file: Uint8Array, limits: DecodeLimits): HeicPixels {
  const decoder = new libheif.HeifDecoder();
  const images = decoder.decode(file);
  try {
    const primary = images.find((image) => image.is_primary()) ?? images[0];
    if (primary === undefined) throw unreadable();
    refuseLargeImage({ width: primary.get_width(), height: primary.get_height() }, limits);
    const decoded = libheif.heif_js_decode_image2(
      primary.handle,
      libheif.heif_colorspace.heif_colorspace_RGB,
      libheif.heif_chroma.heif_chroma_interleaved_RGBA,
    );
    if ('code' in decoded) throw unreadable();
    try {
      const [channel] = decoded.channels;
      if (channel === undefined) throw unreadable();
      const { width, height, stride } = channel;
      // In a damaged file the pixels have another size than the header says, and libheif hands over as many as that says.
      refuseLargeImage({ width, height }, limits);
      if (width === 0 || height === 0 || channel.data.length < stride * height) throw unreadable();
      const data = Buffer.alloc(width * height * 4);
      for (let row = 0; row < height; row += 1) {
        data.set(channel.data.subarray(row * stride, row * stride + width * 4), row * width * 4);
      }
      return { data, width, height };
    } finally {
      libheif.heif_image_release(decoded.image);
    }
  } finally {
    // What is not freed stays in the memory of WebAssembly, 50 MB a photo.
    for (const image of images) image.free();
    decoder.decoder?.delete();
  }
}

function unreadable(cause?: unknown): ServiceError {
  const error = new ServiceError('image_unreadable', 'The image is truncated or damaged.');
  error.cause = cause;
  return error;
}
