import sharp, { type Metadata, type Raw, type Sharp, type SharpOptions } from 'sharp';
import { ServiceError } from '../errors.js';
import type { ImageFormat } from './format.js';
import { decodeHeic } from './heic.js';
import { countScans, readJpegFrame, unsupportedJpeg } from './jpeg-header.js';
import { type DecodeLimits, readHeader, refuseLargeImage, type Size, unsupported } from './limits.js';
import { keepNeededChunks } from './png-chunks.js';
import { colourChannels, readMainDirectory, unsupportedTiff } from './tiff-directories.js';

/** A rectangle of an upright image, in shares of its width and height. */
export interface Region {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** The pixels that a model takes, as its bundle says. */
export interface PixelTarget extends Size {
  /** `stretch` ignores the aspect ratio; `crop` fits the short side and cuts the middle out. */
  readonly resize: 'stretch' | 'crop';
  readonly kernel: 'cubic' | 'linear' | 'lanczos3';
  /** The part of the image that is taken, in place of the whole. */
  readonly region?: Region;
}

export interface DecodedImage {
  /** [height, width, 3] of the target, row-major sRGB. */
  readonly pixels: Uint8Array;
  /** Size of the image that was sent, after orientation. */
  readonly width: number;
  readonly height: number;
  readonly format: ImageFormat;
}

/** An image that sharp can read, and how. */
interface Readable {
  readonly input: Buffer;
  readonly options: SharpOptions;
}

/** libjpeg-turbo advises a limit of 500 scans; cameras and browsers write a dozen. */
const maxScans = 500;
/** A target is fitted to panoramas of at most this aspect ratio; longer ones are cut while they are resized. */
const maxFittedRatio = 8;
/** End of a JPEG, for files that lack it though all their rows are there. */
const endOfJpeg = Buffer.of(0xff, 0xd9);

// libvips caches operations by their input, which never comes twice here.
sharp.cache(false);
// A decode process has one image at a time, and others decode beside it.
sharp.concurrency(1);
// Every loader is a parser of untrusted input, so all that are not needed are closed: libvips brings PDF, SVG, raw dumps
// and more. Only the buffer variants are open: nothing here reads a file.
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Heif', 'Tiff'].map((name) => `VipsForeignLoad${name}Buffer`),
});

/**
 * Decodes the first frame or the main page: upright, on white, in sRGB, at exactly the target's size. It runs in a decode
 * process, whose time and memory are bounded.
 *
 * @throws ServiceError empty_image | unsupported_image_format | image_unreadable | image_too_many_pixels |
 *   image_too_complex
 */
export async function decodeImage(
  bytes: Uint8Array,
  target: PixelTarget,
  limits: DecodeLimits,
): Promise<DecodedImage> {
  const { format } = readHeader(bytes, limits);
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const readable = await prepare(format, file, limits);
  const header = await unreadableOnError(sharp(readable.input, readable.options).metadata());
  const { width, height } = header.autoOrient;
  refuseLargeImage({ width, height }, limits);
  const pixels = await resize(readable, header, target);
  return { pixels, width, height, format };
}

/** Makes a file safe to decode, or refuses it by name. */
async function prepare(format: ImageFormat, file: Buffer, limits: DecodeLimits): Promise<Readable> {
  // The header's size is compared by `refuseLargeImage`, where the refusal can be worded, so sharp's own limit is off.
  const options: SharpOptions = { limitInputPixels: false, failOn: 'error', autoOrient: true };
  switch (format) {
    case 'jpeg': {
      const frame = readJpegFrame(file);
      const variety = frame && unsupportedJpeg(frame);
      if (variety !== undefined) throw unsupported(`${variety} is not taken`, limits);
      if (countScans(file, maxScans) > maxScans) {
        throw tooComplex(`The JPEG has more than ${maxScans} scans.`);
      }
      const isEnded = file.subarray(-endOfJpeg.length).equals(endOfJpeg);
      return { input: isEnded ? file : Buffer.concat([file, endOfJpeg]), options };
    }
    case 'png': {
      const verdict = keepNeededChunks(file);
      if (verdict.kind === 'too-many-chunks') throw tooComplex('The PNG has too many chunks.');
      return { input: verdict.file, options };
    }
    case 'tiff':
      return prepareTiff(file, options, limits);
    case 'heic': {
      const { data, width, height } = await decodeHeic(file, limits);
      return { input: data, options: { ...options, raw: { width, height, channels: 4 } } };
    }
    case 'avif':
      return { input: asStillAvif(file), options };
    case 'gif':
    case 'webp':
      return { input: file, options };
  }
}

/** An animated AVIF has a still picture too, which libheif reads where the main brand is that of stills. */
function asStillAvif(file: Buffer): Buffer {
  if (file.toString('latin1', 8, 12) !== 'avis') return file;
  const still = Buffer.from(file);
  still.write('avif', 8, 'latin1');
  return still;
}

async function prepareTiff(file: Buffer, options: SharpOptions, limits: DecodeLimits): Promise<Readable> {
  const directory = readMainDirectory(file);
  if (directory === undefined) return { input: file, options };
  const variety = unsupportedTiff(directory);
  if (variety !== undefined) throw unsupported(`${variety} is not taken`, limits);
  refuseLargeImage(directory, limits);
  const paged = { ...options, page: directory.page };
  const colours = colourChannels(directory);
  if (colours === undefined) return { input: file, options: paged };
  // sharp takes any further channel for alpha, though this one is a selection, infrared or the like.
  const whole = sharp(file, paged);
  const kept = colours === 3 ? whole.removeAlpha() : whole.extractChannel(0);
  const { data, info } = await unreadableOnError(
    kept.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true }),
  );
  const { width, height, channels } = info;
  return { input: data, options: { ...options, raw: { width, height, channels } } };
}

async function resize(
  { input, options }: Readable,
  header: Metadata,
  target: PixelTarget,
): Promise<Uint8Array> {
  const render = (failOn: 'warning' | 'error'): Promise<Buffer> => {
    const image = inSrgb(sharp(input, { ...options, failOn }), header).flatten({ background: '#ffffff' });
    const part = partOf(header.autoOrient, target.region);
    const wanted = part === undefined ? image : image.extract(part);
    return target.resize === 'stretch'
      ? rgbOf(wanted.resize(target.width, target.height, { fit: 'fill', kernel: target.kernel }))
      : crop(wanted, part ?? header.autoOrient, target);
  };
  const pixels = await unreadableOnError(
    header.format === 'jpeg'
      ? render('warning').catch((error: unknown) => retryJpeg(error, render))
      : render('error'),
  );
  if (pixels.length !== target.width * target.height * 3) {
    throw new Error(`decoding gave ${pixels.length} bytes for ${target.width} × ${target.height} RGB pixels`);
  }
  return pixels;
}

function rgbOf(image: Sharp): Promise<Buffer> {
  return image.toColourspace('srgb').raw({ depth: 'uchar' }).toBuffer();
}

/** Of the warnings of libjpeg, only missing data means that the picture is not whole. */
async function retryJpeg(error: unknown, render: (failOn: 'error') => Promise<Buffer>): Promise<Buffer> {
  if (error instanceof Error && /premature end/i.test(error.message)) throw error;
  return render('error');
}

/** Converts by the file's profile before anything else where the samples have more than 8 bits, or are gray. */
function inSrgb(image: Sharp, { space, depth }: Metadata): Sharp {
  if (space === 'grey16' || space === 'b-w') return image.pipelineColourspace('b-w');
  return depth === 'uchar' ? image : image.pipelineColourspace('srgb');
}

/** The pixels of a region; at least one in each direction. */
function partOf(
  { width, height }: Size,
  region: Region | undefined,
): (Size & { left: number; top: number }) | undefined {
  if (region === undefined) return undefined;
  const left = Math.min(width - 1, Math.floor(region.left * width));
  const top = Math.min(height - 1, Math.floor(region.top * height));
  return {
    left,
    top,
    width: Math.max(1, Math.min(width - left, Math.round(region.width * width))),
    height: Math.max(1, Math.min(height - top, Math.round(region.height * height))),
  };
}

/** As CLIP does: the short side is fitted, the longer side rounded down, and the middle cut out. */
async function crop(image: Sharp, size: Size, target: PixelTarget): Promise<Buffer> {
  const { width, height, kernel } = target;
  const ratio = (size.width * height) / (size.height * width);
  if (Math.max(ratio, 1 / ratio) > maxFittedRatio) {
    return rgbOf(image.resize(width, height, { fit: 'cover', position: 'centre', kernel }));
  }
  const fitted =
    ratio <= 1
      ? { width, height: Math.floor((width * size.height) / size.width) }
      : { width: Math.floor((height * size.width) / size.height), height };
  const middle = {
    left: halfToEven(fitted.width - width),
    top: halfToEven(fitted.height - height),
    width,
    height,
  };
  if (fitted.width > size.width && fitted.height > size.height) {
    const enlarged = await enlarge(await rgbOf(image), size, fitted);
    return rgbOf(enlarged.extract(middle));
  }
  // Its pixels are of the whole photo, not of one that was shrunk while it was decoded.
  const options = { fit: 'fill', kernel, fastShrinkOnLoad: false } as const;
  return rgbOf(image.resize(fitted.width, fitted.height, options).extract(middle));
}

/** Pixels beside a pixel that bicubic interpolation looks at. */
const edge = 2;

/** `resize` of libvips moves what it enlarges by half a pixel, which changes the embedding of CLIP. */
async function enlarge(rgb: Buffer, size: Size, fitted: Size): Promise<Sharp> {
  const extended = await sharp(rgb, { raw: { ...size, channels: 3 } })
    .extend({ top: edge, bottom: edge, left: edge, right: edge, extendWith: 'copy' })
    .raw()
    .toBuffer({ resolveWithObject: true });
  const [x, y] = [fitted.width / size.width, fitted.height / size.height];
  const { data, info } = await sharp(extended.data, { raw: rawOf(extended.info) })
    .affine(
      [
        [x, 0],
        [0, y],
      ],
      // From the centre of a pixel to the centre of a pixel, past the edge.
      { interpolator: 'bicubic', idx: 0.5, idy: 0.5, odx: -0.5 - x * edge, ody: -0.5 - y * edge },
    )
    .raw()
    .toBuffer({ resolveWithObject: true });
  return sharp(data, { raw: rawOf(info) });
}

function rawOf({ width, height }: Size): Raw {
  return { width, height, channels: 3 };
}

/** Half of a margin; a half pixel goes to the even neighbour, as Python rounds. */
function halfToEven(whole: number): number {
  const half = Math.floor(whole / 2);
  return whole % 2 === 1 && half % 2 === 1 ? half + 1 : half;
}

async function unreadableOnError<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause;
    const error = new ServiceError('image_unreadable', 'The image is truncated or damaged.');
    error.cause = cause;
    throw error;
  }
}

function tooComplex(detail: string): ServiceError {
  return new ServiceError('image_too_complex', detail);
}
