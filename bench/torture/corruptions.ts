import type { Random } from './random.js';
import type { SourceFile } from './sources.js';

/** Damages a file; the first bytes, by which the format is told, often survive, so that a decoder gets to read the rest. */
type Corruption = (file: Buffer, others: readonly Buffer[], random: Random) => Buffer;

/** Where headers are: a change here reaches more code than one among the pixels. */
const headerBytes = 512;

/** Bits anywhere, from one to many. */
const flipBits: Corruption = (file, _others, random) => {
  const copy = Buffer.from(file);
  const flips = 2 ** random.below(8);
  for (let flip = 0; flip < flips; flip += 1) flipBit(copy, random.below(copy.length), random);
  return copy;
};

/** Few bits of the header, behind the signature. */
const flipHeaderBits: Corruption = (file, _others, random) => {
  const copy = Buffer.from(file);
  const end = Math.min(headerBytes, copy.length);
  const flips = 1 + random.below(4);
  for (let flip = 0; flip < flips; flip += 1) flipBit(copy, 4 + random.below(end - 4), random);
  return copy;
};

const truncate: Corruption = (file, _others, random) => file.subarray(0, random.below(file.length));

/** The beginning of one file and the rest of another, of whatever formats. */
const splice: Corruption = (file, others, random) => {
  const other = random.oneOf(others);
  const at = 12 + random.below(Math.min(headerBytes, file.length) - 12);
  return Buffer.concat([
    file.subarray(0, at),
    other.subarray(random.below(Math.min(headerBytes, other.length))),
  ]);
};

/** A number in the header, of either byte order, at its extremes: sizes, counts, offsets. */
const extremeNumber: Corruption = (file, _others, random) => {
  const copy = Buffer.from(file);
  const value = random.oneOf([0, 1, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff]);
  const at = 4 + random.below(Math.min(headerBytes, copy.length) - 8);
  if (random.below(2) === 0) copy.writeUInt32BE(value, at);
  else copy.writeUInt32LE(value, at);
  return copy;
};

/** A stretch that is left out, doubled, or overwritten with noise. */
const damageStretch: Corruption = (file, _others, random) => {
  const from = random.below(file.length);
  const to = Math.min(file.length, from + 1 + random.below(1000));
  const stretch = file.subarray(from, to);
  const noise = Buffer.from(stretch).map(() => random.below(256));
  const middle = random.oneOf([[], [stretch, stretch], [noise]]);
  return Buffer.concat([file.subarray(0, from), ...middle, file.subarray(to)]);
};

const corruptions = { flipBits, flipHeaderBits, truncate, splice, extremeNumber, damageStretch };

/** What a corrupted image may be answered: some are none the worse for it. */
export const outcomesOfCorrupted = [
  '200',
  '400 empty_image',
  '415 unsupported_image_format',
  '422 image_unreadable',
  '422 image_too_many_pixels',
];

export interface CorruptedFile {
  readonly corruption: string;
  /** What it was before. */
  readonly format: string;
  readonly bytes: Buffer;
}

/** @param files undamaged ones, of every format */
export function corruptOne(files: readonly SourceFile[], random: Random): CorruptedFile {
  const [corruption, damage] = random.oneOf(Object.entries(corruptions));
  const { format, bytes } = random.oneOf(files);
  const others = files.map((file) => file.bytes);
  return { corruption, format, bytes: damage(bytes, others, random) };
}

function flipBit(bytes: Buffer, at: number, random: Random): void {
  bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
}
