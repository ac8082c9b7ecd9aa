/**
 * The two loops of `resample` as WebAssembly with 128-bit vectors, ten times as fast as the same in JavaScript. They are
 * assembled here, instruction by instruction, so that there is no binary that nobody can read. Numbers of instructions:
 * https://webassembly.github.io/spec/core/binary/instructions.html
 *
 * Taps in memory, one record an output, all int32: where its first input begins (bytes from the start of a row, or of the
 * pixels), the bytes of its weights, then the weights. Loops read and write up to `overrun` bytes beyond what is theirs.
 */
interface Loops {
  readonly memory: Memory;
  /** RGB pixels [height, from, 3] → [height, to, 3]; everything in bytes. */
  rows(
    source: number,
    target: number,
    sourceEnd: number,
    rowBytes: number,
    taps: number,
    tapsEnd: number,
    tapBytes: number,
  ): void;
  /** Rows of bytes [from, rowBytes] → [to, rowBytes]. */
  columns(
    source: number,
    target: number,
    rowBytes: number,
    taps: number,
    tapsEnd: number,
    tapBytes: number,
  ): void;
}

interface Memory {
  readonly buffer: ArrayBuffer;
  /** @param pages of 64 KiB */
  grow(pages: number): number;
}

/** Node's own, which its types leave to those of browsers. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { readonly exports: Loops };
};

/** Fractional bits of the weights. */
export const weightBits = 22;

export const overrun = 16;

type Code = number | readonly Code[];

function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
}

function signed(value: number): number[] {
  return value >= -64 && value < 64 ? [value & 127] : [(value & 127) | 128, ...signed(value >> 7)];
}

const int32 = 0x7f;
const vector = 0x7b;
const get = (local: number): Code => [0x20, local];
const set = (local: number): Code => [0x21, local];
const constant = (value: number): Code => [0x41, signed(value)];
const load = (offset: number): Code => [0x28, 0, offset];
const store: Code = [0x36, 0, 0];
const add = 0x6a;
const advance = (local: number, by: Code): Code => [get(local), by, add, set(local)];
/** Runs at least once, and again while one local is less than another. */
const loopWhileLess = (local: number, end: number, ...body: Code[]): Code => [
  [0x03, 0x40, body],
  [get(local), get(end), 0x49, 0x0d, 0, 0x0b],
];

const vectors = (instruction: number, ...immediates: number[]): Code => [
  0xfd,
  unsigned(instruction),
  immediates,
];
const loadBytes = vectors(0x00, 0, 0);
const loadWeight = vectors(0x09, 0, 0); // the same in all four places
const loadPixel = vectors(0x5c, 0, 0); // four bytes, of which three count
const storeBytes = vectors(0x0b, 0, 0);
const spread = vectors(0x11);
const firstInt = vectors(0x1b, 0);
const bytesOf = vectors(0x66); // two times eight int16, clamped to 0…255
const shortsOf = vectors(0x85); // two times four int32
const lowBytes = vectors(0x89);
const highBytes = vectors(0x8a);
const lowShorts = vectors(0xa9);
const highShorts = vectors(0xaa);
const shiftRight = vectors(0xac);
const addInts = vectors(0xae);
const multiplyInts = vectors(0xb5);

/** Half of the last bit that stays, so that cutting the others off rounds. */
const half: Code = [constant(1 << (weightBits - 1)), spread];
const cutWeightBits: Code = [constant(weightBits), shiftRight];

/** Which locals hold the place of an output's record, and get the place of its inputs, of its weights, and of their end. */
const openTaps = (record: number, base: Code, input: number, weight: number, weightEnd: number): Code => [
  [get(record), load(0), base, add, set(input)],
  [get(record), constant(8), add, set(weight)],
  [get(record), load(4), get(weight), add, set(weightEnd)],
];

function rowLoop(): Code {
  const [source, target, sourceEnd, rowBytes, taps, tapsEnd, tapBytes] = [0, 1, 2, 3, 4, 5, 6] as const;
  const [record, input, weight, weightEnd, sum] = [7, 8, 9, 10, 11] as const;
  const addPixel = [
    get(sum),
    get(input),
    loadPixel,
    lowBytes,
    lowShorts,
    get(weight),
    loadWeight,
    multiplyInts,
    addInts,
    set(sum),
  ];
  const pixel = [get(sum), cutWeightBits, get(sum), shortsOf, get(sum), bytesOf, firstInt];
  return loopWhileLess(
    source,
    sourceEnd,
    [get(taps), set(record)],
    loopWhileLess(
      record,
      tapsEnd,
      openTaps(record, get(source), input, weight, weightEnd),
      [half, set(sum)],
      loopWhileLess(weight, weightEnd, addPixel, advance(input, constant(3)), advance(weight, constant(4))),
      [get(target), pixel, store],
      advance(target, constant(3)),
      advance(record, get(tapBytes)),
    ),
    advance(source, get(rowBytes)),
  );
}

function columnLoop(): Code {
  const [source, target, rowBytes, taps, tapsEnd, tapBytes] = [0, 1, 2, 3, 4, 5] as const;
  const [place, input, weight, weightEnd] = [6, 7, 8, 9] as const;
  const [sum0, sum1, sum2, sum3, bytes, weights] = [10, 11, 12, 13, 14, 15] as const;
  const addFour = (sum: number, ...four: Code[]): Code => [
    [get(sum), get(bytes), four, get(weights), multiplyInts, addInts, set(sum)],
  ];
  const eight = (low: number, high: number): Code => [
    [get(low), cutWeightBits, get(high), cutWeightBits, shortsOf],
  ];
  return loopWhileLess(
    taps,
    tapsEnd,
    [constant(0), set(place)],
    loopWhileLess(
      place,
      rowBytes,
      openTaps(taps, [get(source), add, get(place)], input, weight, weightEnd),
      [sum0, sum1, sum2, sum3].map((sum) => [half, set(sum)]),
      loopWhileLess(
        weight,
        weightEnd,
        [get(input), loadBytes, set(bytes), get(weight), loadWeight, set(weights)],
        addFour(sum0, lowBytes, lowShorts),
        addFour(sum1, lowBytes, highShorts),
        addFour(sum2, highBytes, lowShorts),
        addFour(sum3, highBytes, highShorts),
        advance(input, get(rowBytes)),
        advance(weight, constant(4)),
      ),
      [get(target), get(place), add, eight(sum0, sum1), eight(sum2, sum3), bytesOf, storeBytes],
      advance(place, constant(16)),
    ),
    advance(target, get(rowBytes)),
    advance(taps, get(tapBytes)),
  );
}

function assemble(): Uint8Array {
  const functions = [
    { parameters: 7, integers: 4, vectors: 1, body: rowLoop() },
    { parameters: 6, integers: 4, vectors: 6, body: columnLoop() },
  ];
  const sized = (code: Code): Code => {
    const bytes = flat(code);
    return [unsigned(bytes.length), bytes];
  };
  const exported = (name: string, kind: number, index: number): Code => [
    sized([...Buffer.from(name)]),
    kind,
    index,
  ];
  return Uint8Array.from(
    flat([
      [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      [
        1,
        sized([
          functions.length,
          functions.map(({ parameters }) => [
            0x60,
            sized(Array.from({ length: parameters }, () => int32)),
            0,
          ]),
        ]),
      ],
      [3, sized([functions.length, functions.map((_, index) => index)])],
      [5, sized([1, 0, 1])],
      [7, sized([3, exported('memory', 2, 0), exported('rows', 0, 0), exported('columns', 0, 1)])],
      [
        10,
        sized([
          functions.length,
          functions.map((made) => sized([2, made.integers, int32, made.vectors, vector, made.body, 0x0b])),
        ]),
      ],
    ]),
  );
}

function flat(code: Code): number[] {
  return typeof code === 'number' ? [code] : code.flatMap(flat);
}

/** Each has a memory of its own. */
export function createLoops(): Loops {
  const module = new WebAssembly.Module(assemble());
  return new WebAssembly.Instance(module).exports;
}
