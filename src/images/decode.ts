import sharp, { type Metadata } from 'sharp';
import { ServiceError } from '../problem.js';
import { enlarge } from './enlarge.js';
import { type ImageFormat, imageFormats, sniffFormat } from './format.js';

/** The model's input, as its bundle says. */
export interface PixelTarget {
  readonly width: number;
  readonly height: number;
  /** `stretch` ignores the aspect ratio; `crop` fits the short side and cuts the middle out. */
  readonly resize: 'stretch' | 'crop';
  readonly kernel: 'cubic' | 'linear' | 'lanczos3';
}

export interface DecodeLimits {
  /** Width × height that is still decoded; read from the header, before any pixel. */
  readonly maxPixels: number;
  /** When the pixels are worthless, in the milliseconds of `performance.now()`. */
  readonly deadline: number;
}

export interface DecodedImage {
  /** [height, width, 3] of the target, row-major sRGB. */
  readonly pixels: Uint8Array;
  /** Size of the image that was sent, after orientation. */
  readonly width: number;
  readonly height: number;
  readonly format: ImageFormat;
}

/** The longest that sharp can be told to wait. */
const maxDecodeSeconds = 3600;

// Every loader is a parser that strangers can reach, so all but these are closed (libvips brings PDF, SVG,
// HEIC, raw dumps and more). Only the buffer variants: nothing here reads a file.
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Heif', 'Tiff'].map((name) => `VipsForeignLoad${name}Buffer`),
});
// libvips caches operations by their input, which here never comes twice.
sharp.cache(false);
// Several images are decoded side by side; threads inside each would only contend with them.
sharp.concurrency(1);

/**
 * Decodes the first frame, upright, on white, in sRGB, at exactly the target's size.
 * The work happens in libuv's thread pool, not in the event loop.
 *
 * @throws ServiceError empty_image | unsupported_image_format | image_unreadable | image_too_many_pixels |
 *   deadline_exceeded
 */
export async function decodeImage(
  bytes: Uint8Array,
  target: PixelTarget,
  { maxPixels, deadline }: DecodeLimits,
): Promise<DecodedImage> {
  const format = supportedFormat(bytes);
  // The header's size is compared here, where the refusal can be worded, so sharp's own limit is off.
  const header = await unreadableOnError(sharp(bytes, { limitInputPixels: false }).metadata());
  const { width, height } = header.autoOrient;
  refuseUnlike(header, format);
  if (width * height > maxPixels) {
    throw new ServiceError(
      'image_too_many_pixels',
      `The image has ${width} × ${height} pixels; the limit is ${maxPixels} in all.`,
    );
  }
  const remainingMs = deadline - performance.now();
  if (remainingMs <= 0) throw tooLate();
  const fitted = fittedSize({ width, height }, target);
  const shrunk = shrunkSize({ width, height }, fitted, target);
  const decoding = sharp(bytes, {
    limitInputPixels: maxPixels,
    autoOrient: true,
    // A truncated or corrupt image would be captioned with its missing part grey.
    failOn: 'error',
  })
    .timeout({ seconds: Math.min(maxDecodeSeconds, Math.ceil(remainingMs / 1000)) })
    .flatten({ background: '#ffffff' })
    .resize(shrunk.width, shrunk.height, {
      fit: target.resize === 'crop' && isPanorama({ width, height }, target) ? 'cover' : 'fill',
      position: 'centre',
      kernel: target.kernel,
      // JPEG and WebP may decode at a fraction of their size, but stay at twice the target: the resize that
      // training uses then does the rest, and the pixels stay close to those of a full decode.
      fastShrinkOnLoad: false,
    })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer();
  let pixels: Buffer;
  try {
    pixels = await unreadableOnError(decoding);
  } catch (error) {
    throw performance.now() >= deadline ? tooLate() : error;
  }
  if (pixels.length !== shrunk.width * shrunk.height * 3) {
    throw new Error(`decoding gave ${pixels.length} bytes for ${shrunk.width} × ${shrunk.height} RGB pixels`);
  }
  const whole = isSmaller(shrunk, fitted) ? enlarge(pixels, shrunk, fitted) : pixels;
  return {
    pixels: cutMiddle(whole, fitted, target),
    width,
    height,
    format,
  };
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Times the target's: a side that a whole picture is fitted to. What is longer would take memory for what is cut off. */
const longestFitted = 8;

/** What the whole picture is resized to, before its middle is cut out as CLIP does: the longer side is rounded down. */
function fittedSize({ width, height }: Size, target: PixelTarget): Size {
  if (target.resize === 'stretch' || isPanorama({ width, height }, target)) return target;
  if (width * target.height <= height * target.width)
    return { width: target.width, height: Math.floor((target.width * height) / width) };
  return { width: Math.floor((target.height * width) / height), height: target.height };
}

function isPanorama({ width, height }: Size, target: Size): boolean {
  const ratio = (width * target.height) / (height * target.width);
  return Math.max(ratio, 1 / ratio) > longestFitted;
}

/** What sharp resizes to. A side that is shorter than wanted stays: `enlarge` does it, as training did. */
function shrunkSize(sent: Size, fitted: Size, target: PixelTarget): Size {
  if (target.resize === 'crop' && isPanorama(sent, target)) return target;
  return { width: Math.min(sent.width, fitted.width), height: Math.min(sent.height, fitted.height) };
}

/** The middle of RGB pixels; a margin of half a pixel goes to the even neighbour, as Python rounds. */
function cutMiddle(pixels: Uint8Array, from: Size, to: Size): Uint8Array {
  if (from.width === to.width && from.height === to.height) return pixels;
  const left = halfToEven(from.width - to.width);
  const top = halfToEven(from.height - to.height);
  const cut = new Uint8Array(to.width * to.height * 3);
  for (let row = 0; row < to.height; row += 1) {
    const start = ((top + row) * from.width + left) * 3;
    cut.set(pixels.subarray(start, start + to.width * 3), row * to.width * 3);
  }
  return cut;
}

function halfToEven(whole: number): number {
  const half = Math.floor(whole / 2);
  return whole % 2 === 1 && half % 2 === 1 ? half + 1 : half;
}

function isSmaller(size: Size, target: Size): boolean {
  return size.width < target.width || size.height < target.height;
}

function supportedFormat(bytes: Uint8Array): ImageFormat {
  if (bytes.length === 0) throw new ServiceError('empty_image', 'The image has no bytes.');
  const sniffed = sniffFormat(bytes);
  if (sniffed.supported) return sniffed.format;
  throw unsupported(
    sniffed.name === undefined ? 'This is no image format known here' : `${sniffed.name} is not taken`,
  );
}

/** HEIF is a container: only the AV1 kind of it is AVIF. */
function refuseUnlike({ format, compression }: Metadata, sniffed: ImageFormat): void {
  if (format === 'heif' && compression !== 'av1') throw unsupported('HEIC is not taken');
  if (format !== (sniffed === 'avif' ? 'heif' : sniffed)) throw unreadable();
}

async function unreadableOnError<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (cause) {
    throw unreadable(cause);
  }
}

function unreadable(cause?: unknown): ServiceError {
  const error = new ServiceError('image_unreadable', 'The image is truncated or damaged.');
  error.cause = cause;
  return error;
}

function unsupported(what: string): ServiceError {
  const taken = imageFormats.map((format) => (format === 'webp' ? 'WebP' : format.toUpperCase())).join(', ');
  return new ServiceError('unsupported_image_format', `${what}; send one of ${taken}.`);
}

function tooLate(): ServiceError {
  return new ServiceError('deadline_exceeded', 'The image could not be decoded in time.');
}
