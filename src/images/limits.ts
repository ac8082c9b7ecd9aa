import { ServiceError } from '../errors.js';
import { type ImageFormat, imageFormats, sniffFormat } from './format.js';
import { readJpegFrame } from './jpeg-header.js';
import { readMainDirectory } from './tiff-directories.js';

/** Bounds of an image that is decoded; see config.ts for their meaning. */
export interface DecodeLimits {
  readonly maxPixels: number;
  readonly maxSide: number;
  /** Whether HEIC is decoded. */
  readonly heic: boolean;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** What the first bytes of a file say, without decoding it. */
export interface ImageHeader {
  readonly format: ImageFormat;
  /** As stored, before orientation; undefined where it is not easily found, and decoding will tell. */
  readonly size: Size | undefined;
}

/**
 * Reads the format and the size of an image in a time that does not depend on the file, so that the serving process can
 * do it, and refuses what the header alone rules out.
 *
 * @throws ServiceError empty_image | unsupported_image_format | image_too_many_pixels
 */
export function readHeader(bytes: Uint8Array, limits: DecodeLimits): ImageHeader {
  if (bytes.length === 0) throw new ServiceError('empty_image', 'The image has no bytes.');
  const sniffed = sniffFormat(bytes);
  if (!sniffed.supported) {
    throw unsupported(
      sniffed.name === undefined ? 'This is no image format known here' : `${sniffed.name} is not taken`,
      limits,
    );
  }
  const { format } = sniffed;
  if (format === 'heic' && !limits.heic) throw unsupported('HEIC is not taken by this service', limits);
  const size = sizeReaders[format](Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (size !== undefined) refuseLargeImage(size, limits);
  return { format, size };
}

/** @throws ServiceError image_too_many_pixels */
export function refuseLargeImage({ width, height }: Size, { maxPixels, maxSide }: DecodeLimits): void {
  if (width > maxSide || height > maxSide) {
    throw new ServiceError(
      'image_too_many_pixels',
      `The image has ${width} × ${height} pixels; a side may have ${maxSide}.`,
    );
  }
  if (width * height > maxPixels) {
    throw new ServiceError(
      'image_too_many_pixels',
      `The image has ${width} × ${height} pixels; the limit is ${maxPixels} in all.`,
    );
  }
}

/** Decoding time of a pixel beside that of a JPEG, PNG or WebP, roughly as measured. */
const costFactor: Readonly<Record<ImageFormat, number>> = {
  jpeg: 0.25, // shrunk while it is decoded
  png: 1,
  webp: 1,
  gif: 1,
  avif: 2,
  tiff: 1,
  heic: 4,
};

/** What decoding will cost, in pixels of a PNG. An image of unknown size costs as much as the largest. */
export function decodeCost({ format, size }: ImageHeader, { maxPixels }: DecodeLimits): number {
  return costFactor[format] * (size === undefined ? maxPixels : size.width * size.height);
}

export function unsupported(what: string, { heic }: Pick<DecodeLimits, 'heic'>): ServiceError {
  const taken = imageFormats
    .filter((format) => heic || format !== 'heic')
    .map((format) => (format === 'webp' ? 'WebP' : format.toUpperCase()));
  return new ServiceError('unsupported_image_format', `${what}; send one of ${taken.join(', ')}.`);
}

type SizeReader = (file: Buffer) => Size | undefined;

const sizeReaders: Readonly<Record<ImageFormat, SizeReader>> = {
  jpeg: readJpegFrame,
  png: (file) => pair(file, 24, () => [file.readUInt32BE(16), file.readUInt32BE(20)]),
  gif: (file) => pair(file, 10, () => [file.readUInt16LE(6), file.readUInt16LE(8)]),
  webp: (file) => pair(file, 30, () => webpSize(file)),
  tiff: readMainDirectory,
  avif: heifSize,
  heic: heifSize,
};

function pair(
  file: Buffer,
  least: number,
  read: () => readonly [number, number] | undefined,
): Size | undefined {
  if (file.length < least) return undefined;
  const found = read();
  return found && { width: found[0], height: found[1] };
}

/** @see https://developers.google.com/speed/webp/docs/riff_container */
function webpSize(file: Buffer): readonly [number, number] | undefined {
  switch (file.toString('latin1', 12, 16)) {
    case 'VP8X':
      return [file.readUIntLE(24, 3) + 1, file.readUIntLE(27, 3) + 1];
    case 'VP8L': {
      const bits = file.readUInt32LE(21);
      return [(bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1];
    }
    case 'VP8 ':
      return [file.readUInt16LE(26) & 0x3fff, file.readUInt16LE(28) & 0x3fff];
    default:
      return undefined;
  }
}

/** Bytes in which the properties of HEIF items are looked for. */
const heifHeaderBytes = 64 * 1024;

/** The largest of the sizes that items have (`ispe` properties): tiles are smaller than their picture. */
function heifSize(file: Buffer): Size | undefined {
  const head = file.subarray(0, heifHeaderBytes);
  let largest: Size | undefined;
  for (
    let at = head.indexOf('ispe');
    at !== -1 && at + 16 <= head.length;
    at = head.indexOf('ispe', at + 4)
  ) {
    const size = { width: head.readUInt32BE(at + 8), height: head.readUInt32BE(at + 12) };
    if (largest === undefined || size.width * size.height > largest.width * largest.height) largest = size;
  }
  return largest;
}
