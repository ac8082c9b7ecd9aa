import sharp, { type Metadata } from 'sharp';
import { ServiceError } from '../problem.js';
import { type ImageFormat, imageFormats, sniffFormat } from './format.js';
import { type Kernel, resample, type Size } from './resample.js';

/** The model's input, as its bundle says. */
export interface PixelTarget extends Size {
  /** `stretch` ignores the aspect ratio; `crop` fits the short side and cuts the middle out. */
  readonly resize: 'stretch' | 'crop';
  readonly kernel: Kernel;
}

export interface DecodeLimits {
  /** Width × height that is still decoded; read from the header, before any pixel. */
  readonly maxPixels: number;
  /** When the pixels are worthless, in the milliseconds of `performance.now()`. */
  readonly deadline: number;
  /** Large JPEGs are decoded at a smaller fraction of their size, in less than half the time; one caption in seven differs. */
  readonly fastJpeg: boolean;
}

/** Where the pixels of an image come to lie, before and after they are resized. */
export interface DecodeMemory {
  /** Resolves when there is memory for so many pixels; asked once the header is read. */
  readonly whenRoom: (pixels: number) => Promise<void>;
  /** Becomes the pixels that are returned, if it has their size. */
  readonly spare: ArrayBuffer | undefined;
}

export interface DecodedImage {
  /** [height, width, 3] of the target, row-major sRGB. */
  readonly pixels: Uint8Array<ArrayBuffer>;
  /** Size of the image that was sent, after orientation. */
  readonly width: number;
  readonly height: number;
  readonly format: ImageFormat;
}

/** The longest that sharp can be told to wait. */
const maxDecodeSeconds = 3600;

// libvips caches operations by their input, which here never comes twice.
sharp.cache(false);
// Several images are decoded side by side; threads inside each would only contend with them.
sharp.concurrency(1);

/**
 * Decodes the first frame, upright, on white, in sRGB, at exactly the target's size.
 * The photo is read in libuv's thread pool and resized in this thread, which must not be that of the event loop that answers
 * requests: `decodeAside` calls this, and closes the loaders that are not for strangers.
 *
 * @throws ServiceError empty_image | unsupported_image_format | image_unreadable | image_too_many_pixels |
 *   deadline_exceeded
 */
export async function decodeImage(
  bytes: Uint8Array,
  target: PixelTarget,
  { maxPixels, deadline, fastJpeg, whenRoom, spare }: DecodeLimits & DecodeMemory,
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
  const fitted = fittedSize({ width, height }, target);
  const panorama = target.resize === 'crop' && isPanorama({ width, height }, target);
  const least = fastJpeg && format === 'jpeg' ? leastFraction : Infinity;
  const decoded = panorama ? target : decodedSize({ width, height }, fitted, least);
  // Only of a JPEG does a fraction take less memory than the whole.
  await whenRoom(format === 'jpeg' ? decoded.width * decoded.height : width * height);
  const remainingMs = deadline - performance.now();
  if (remainingMs <= 0) throw tooLate();
  const decoding = sharp(bytes, {
    limitInputPixels: maxPixels,
    autoOrient: true,
    // A truncated or corrupt image would be captioned with its missing part grey.
    failOn: 'error',
  })
    .timeout({ seconds: Math.min(maxDecodeSeconds, Math.ceil(remainingMs / 1000)) })
    .flatten({ background: '#ffffff' })
    .resize(decoded.width, decoded.height, {
      fit: panorama ? 'cover' : 'fill',
      position: 'centre',
      kernel: target.kernel,
      // `decodedSize` has chosen the fraction of a JPEG; of a WebP, no fraction is close enough to the whole.
      fastShrinkOnLoad: format === 'jpeg',
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
  if (pixels.length !== decoded.width * decoded.height * 3) {
    throw new Error(
      `decoding gave ${pixels.length} bytes for ${decoded.width} × ${decoded.height} RGB pixels`,
    );
  }
  // Not sharp's memory, which cannot be handed to another thread.
  const found = pixelsOf(target, spare);
  const whole = isSame(fitted, target) ? found : pixelsOf(fitted);
  if (isSame(decoded, fitted)) whole.set(pixels);
  else resample(pixels, { from: decoded, to: fitted, kernel: target.kernel }, whole);
  if (whole !== found) cutMiddle({ pixels: whole, size: fitted }, { pixels: found, size: target });
  return { pixels: found, width, height, format };
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

/** Times the wanted side, below which `fastJpeg` does not decode at a half, a quarter or an eighth of the size. */
const leastFraction = 2;
/** What `resample` gets at once, all that `MAX_PIXELS` lets through unless it is raised. What has more pixels is brought down to
 * that by libvips, row by row, so that the memory of a decode does not grow with the photo. */
const mostResampled = 50_000_000;

/** What sharp decodes to. The rest is `resample`'s, which agrees with Pillow; libvips does so only to a tenth of a level.
 * @param least `leastFraction`, or infinity for the whole */
function decodedSize({ width, height }: Size, fitted: Size, least: number): Size {
  const at = (part: number) => ({ width: Math.floor(width / part), height: Math.floor(height / part) });
  const part = [8, 4, 2].find(
    (part) => at(part).width >= least * fitted.width && at(part).height >= least * fitted.height,
  );
  const whole = at(part ?? 1);
  const factor = Math.min(1, Math.sqrt(mostResampled / (whole.width * whole.height)));
  const bounded = (side: number, wanted: number) =>
    Math.min(side, Math.max(wanted, Math.floor(side * factor)));
  return { width: bounded(whole.width, fitted.width), height: bounded(whole.height, fitted.height) };
}

/** The middle of RGB pixels; a margin of half a pixel goes to the even neighbour, as Python rounds. */
function cutMiddle(from: Raster, to: Raster): void {
  const left = halfToEven(from.size.width - to.size.width);
  const top = halfToEven(from.size.height - to.size.height);
  const rowBytes = to.size.width * 3;
  for (let row = 0; row < to.size.height; row += 1) {
    const start = ((top + row) * from.size.width + left) * 3;
    to.pixels.set(from.pixels.subarray(start, start + rowBytes), row * rowBytes);
  }
}

function pixelsOf({ width, height }: Size, spare?: ArrayBuffer): Uint8Array<ArrayBuffer> {
  const bytes = width * height * 3;
  return spare?.byteLength === bytes ? new Uint8Array(spare) : new Uint8Array(bytes);
}

interface Raster {
  /** RGB [height, width, 3], row-major. */
  readonly pixels: Uint8Array;
  readonly size: Size;
}

function halfToEven(whole: number): number {
  const half = Math.floor(whole / 2);
  return whole % 2 === 1 && half % 2 === 1 ? half + 1 : half;
}

function isSame(size: Size, other: Size): boolean {
  return size.width === other.width && size.height === other.height;
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
