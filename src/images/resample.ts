import { createLoops, overrun, weightBits } from './resample-loops.js';

/** The filters that a bundle may name, by Pillow's definitions; `support` is how many pixels they reach to either side. */
const kernels = {
  /** Catmull-Rom, the cubic of Keys (1981) with a = −0.5: Pillow's BICUBIC. */
  cubic: {
    support: 2,
    weight: (x: number) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2),
  },
  linear: { support: 1, weight: (x: number) => 1 - x },
  lanczos3: { support: 3, weight: (x: number) => sinc(x) * sinc(x / 3) },
} as const;

export type Kernel = keyof typeof kernels;

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Resampling {
  readonly from: Size;
  readonly to: Size;
  readonly kernel: Kernel;
}

const loops = createLoops();

/**
 * Resizes RGB pixels to the very numbers of Pillow's `resize`, by which the training's photos were made: the filter is widened
 * when it shrinks, and each direction is rounded to bytes. Noise of a seventh of a level changes up to ten captions in a hundred.
 *
 * @param pixels [from.height, from.width, 3] row-major
 * @param resized where they are written
 * @returns [to.height, to.width, 3] row-major
 */
export function resample(
  pixels: Uint8Array,
  { from, to, kernel }: Resampling,
  resized = new Uint8Array(to.width * to.height * 3),
): Uint8Array<ArrayBuffer> {
  const isColumnsFirst = columnsFirst(from, to);
  const between = isColumnsFirst
    ? { width: from.width, height: to.height }
    : { width: to.width, height: from.height };
  const fromBytes = from.width * 3;
  const betweenBytes = between.width * 3;
  const across = tapsOf(from.width, to.width, kernel, 3);
  const down = tapsOf(from.height, to.height, kernel, betweenBytes);
  const bands = isColumnsFirst ? bandsOfOutputs(down, fromBytes) : bandsOfRows(from.height, fromBytes);
  const [source, middle, target, acrossAt, downAt] = places(
    Math.max(...bands.map(({ first, end }) => (end - first) * fromBytes)),
    betweenBytes * between.height,
    to.width * to.height * 3,
    across.records.byteLength,
    down.records.byteLength,
  );
  const memory = new Uint8Array(loops.memory.buffer);
  memory.set(new Uint8Array(across.records.buffer), acrossAt);
  memory.set(new Uint8Array(down.records.buffer), downAt);
  const rows = (input: number, output: number, height: number) => {
    const end = acrossAt + across.records.byteLength;
    loops.rows(input, output, input + height * fromBytes, fromBytes, acrossAt, end, across.recordBytes);
  };
  const columns = (input: number, output: number, [first, end]: readonly [number, number]) => {
    const taps = downAt + first * down.recordBytes;
    const tapsEnd = downAt + end * down.recordBytes;
    loops.columns(input, output + first * betweenBytes, betweenBytes, taps, tapsEnd, down.recordBytes);
  };
  for (const { first, end, outputs } of bands) {
    memory.set(pixels.subarray(first * fromBytes, end * fromBytes), source);
    // The taps count from the first row of the photo.
    if (isColumnsFirst) columns(source - first * fromBytes, middle, outputs);
    else rows(source, middle + outputs[0] * betweenBytes, end - first);
  }
  if (isColumnsFirst) rows(middle, target, to.height);
  else columns(middle, target, [0, to.height]);
  resized.set(memory.subarray(target, target + resized.length));
  return resized;
}

/** Rows of the photo that are in the loops' memory at once, and the rows [first, end) that the first direction makes of them. */
interface Band {
  readonly first: number;
  readonly end: number;
  readonly outputs: readonly [first: number, end: number];
}

/** So much fits a core's cache, and the memory of the loops, which never shrinks, stays small. */
const bandBytes = 1024 * 1024;

function bandsOfRows(height: number, rowBytes: number): Band[] {
  const rows = Math.max(1, Math.floor(bandBytes / rowBytes));
  return Array.from({ length: Math.ceil(height / rows) }, (_, band) => {
    const first = band * rows;
    const end = Math.min(height, first + rows);
    return { first, end, outputs: [first, end] };
  });
}

/** Neighbouring outputs share rows, so a band begins before the last one ends. */
function bandsOfOutputs({ records, recordBytes }: Taps, rowBytes: number): Band[] {
  const length = recordBytes / Int32Array.BYTES_PER_ELEMENT;
  const bands: Band[] = [];
  for (let output = 0; output * length < records.length; output += 1) {
    const [start = 0, weightBytes = 0] = records.subarray(output * length);
    const first = start / rowBytes;
    const end = first + weightBytes / Int32Array.BYTES_PER_ELEMENT;
    const last = bands.at(-1);
    if (last !== undefined && (end - last.first) * rowBytes <= bandBytes)
      bands[bands.length - 1] = { first: last.first, end, outputs: [last.outputs[0], output + 1] };
    else bands.push({ first, end, outputs: [output, output + 1] });
  }
  return bands;
}

/** Which direction Pillow (13) begins with; the rounding in between shows in one pixel of five. */
function columnsFirst(from: Size, to: Size): boolean {
  return from.height > to.height && 2 * (from.width - to.width) < from.height - to.height;
}

/** Where in the loops' memory things of so many bytes lie, after it has grown to hold them. */
function places(
  ...sizes: [number, number, number, number, number]
): [number, number, number, number, number] {
  const align = 16;
  let end = 0;
  const found = sizes.map((bytes) => {
    const start = end;
    end += Math.ceil((bytes + overrun) / align) * align;
    return start;
  });
  const missing = end - loops.memory.buffer.byteLength;
  if (missing > 0) loops.memory.grow(Math.ceil(missing / 65_536));
  const [first = 0, second = 0, third = 0, fourth = 0, fifth = 0] = found;
  return [first, second, third, fourth, fifth];
}

interface Taps {
  /** As the loops want them. */
  readonly records: Int32Array<ArrayBuffer>;
  readonly recordBytes: number;
}

/**
 * Which inputs each output is made of. Pixel centres lie at half numbers, and what falls outside is left out. Weights have 22
 * fractional bits, as Pillow's: 255 times their sum, overshoot and all, fits 32 bits.
 *
 * @param stepBytes from one input to the next
 */
function tapsOf(from: number, to: number, kernel: Kernel, stepBytes: number): Taps {
  const { support, weight } = kernels[kernel];
  const scale = from / to;
  const widening = Math.max(1, scale);
  const reach = support * widening;
  const length = 2 + Math.ceil(reach) * 2 + 1;
  const records = new Int32Array(to * length);
  for (let output = 0; output < to; output += 1) {
    const centre = (output + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const count = Math.min(from, Math.trunc(centre + reach + 0.5)) - first;
    const raw = Array.from({ length: count }, (_, tap) => {
      const distance = Math.abs(first + tap + 0.5 - centre) / widening;
      return distance < support ? weight(distance) : 0;
    });
    const sum = raw.reduce((total, value) => total + value, 0);
    const weights = raw.map((value) => roundHalfAway((value / sum) * 2 ** weightBits));
    records.set([first * stepBytes, count * Int32Array.BYTES_PER_ELEMENT, ...weights], output * length);
  }
  return { records, recordBytes: length * Int32Array.BYTES_PER_ELEMENT };
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function roundHalfAway(value: number): number {
  return Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
}
