import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { resample, type Kernel, type Size } from '../../src/images/resample.js';

/** One row of grey pixels, and back. */
function row(...values: number[]): Uint8Array {
  return Uint8Array.from(values.flatMap((value) => [value, value, value]));
}

function greys(pixels: Uint8Array): number[] {
  return Array.from(pixels).filter((_, index) => index % 3 === 0);
}

function size([width, height]: readonly [number, number]): Size {
  return { width, height };
}

/** What looks like noise, and is the same everywhere. */
function scattered({ width, height }: Size): Uint8Array {
  return Uint8Array.from({ length: width * height * 3 }, (_, index) => Math.imul(index, 2654435761) >>> 24);
}

const cubic = (pixels: Uint8Array, from: [number, number], to: [number, number]) =>
  resample(pixels, { from: size(from), to: size(to), kernel: 'cubic' });

test('a flat image stays flat', () => {
  const targets: [number, number][] = [
    [13, 9],
    [3, 2],
    [13, 2],
  ];
  for (const to of targets) {
    const flat = cubic(new Uint8Array(5 * 4 * 3).fill(77), [5, 4], to);
    assert.equal(flat.length, to[0] * to[1] * 3);
    assert.ok(flat.every((value) => value === 77));
  }
});

test('a ramp keeps its place: nothing moves by a part of a pixel', () => {
  const ramp = cubic(row(0, 20, 40, 60, 80, 100, 120, 140), [8, 1], [16, 1]);
  // The centre of output i lies at (i + 0.5) / 2 of the input, whose values are 20 · (centre − 0.5) away from the ends.
  assert.deepEqual(greys(ramp).slice(4, 12), [35, 45, 55, 65, 75, 85, 95, 105]);
});

test('a mirrored image gives the mirrored result, in both directions', () => {
  const values = [9, 200, 31, 250, 4];
  for (const length of [12, 3]) {
    const across = greys(cubic(row(...values), [5, 1], [length, 1]));
    const mirrored = greys(cubic(row(...values.toReversed()), [5, 1], [length, 1]));
    assert.deepEqual(mirrored, across.toReversed());
    assert.deepEqual(greys(cubic(row(...values), [1, 5], [1, length])), across);
  }
});

test('gives the numbers of Pillow’s BICUBIC', () => {
  // Image.fromarray(np.uint8([[10, 60, 250, 0]])).resize((7, 1), Image.Resampling.BICUBIC)
  assert.deepEqual(greys(cubic(row(10, 60, 250, 0), [4, 1], [7, 1])), [6, 18, 52, 174, 245, 83, 0]);
  // The same of [10, 60, 250, 0, 33, 90, 200, 7] to (3, 1)
  assert.deepEqual(greys(cubic(row(10, 60, 250, 0, 33, 90, 200, 7), [8, 1], [3, 1])), [90, 74, 102]);
});

// SHA-256 of every byte that Pillow 13.0 gives:
//   i = np.arange(width * height * 3, dtype=np.uint32)
//   drawn = (i * np.uint32(2654435761) >> np.uint32(24)).astype(np.uint8).reshape(height, width, 3)
//   hashlib.sha256(Image.fromarray(drawn).resize(to, Image.Resampling.BICUBIC).tobytes()).hexdigest()[:16]
// linear is BILINEAR, lanczos3 is LANCZOS.
const ofPillow: [from: [number, number], to: [number, number], Kernel, sha256: string][] = [
  [[224, 224], [288, 288], 'cubic', 'e4946bfb9044bb2d'],
  [[341, 256], [288, 288], 'cubic', '4c096b483d8adf17'],
  [[256, 341], [288, 288], 'cubic', '0853a20292810c84'],
  [[640, 427], [288, 288], 'cubic', '3e042a1e232816eb'],
  [[427, 640], [288, 288], 'cubic', '7b903fdc0f0ae3ff'],
  [[300, 640], [288, 288], 'cubic', '6c671308c8b1264e'],
  [[1, 1], [5, 4], 'cubic', '73dc38d73dc8053d'],
  [[3, 500], [7, 9], 'cubic', '73d066247d655ff2'],
  [[500, 3], [7, 9], 'cubic', '0a3283ce4427cd7c'],
  [[640, 427], [335, 224], 'cubic', 'b3f3e840ae311973'],
  [[288, 500], [288, 200], 'cubic', 'd73ab9d5caafca1f'],
  [[500, 288], [200, 288], 'cubic', '274c5a0f799fcaad'],
  // More than is in the loops' memory at once, in either direction first.
  [[1600, 1100], [288, 288], 'cubic', '3eceedb9f8aff8a6'],
  [[400, 3000], [288, 288], 'cubic', '5bddcdf7a294db8a'],
  [[300, 9000], [288, 288], 'cubic', '42986635cc0d12eb'],
  [[2100, 3100], [288, 200], 'lanczos3', '53fe2534a266cf0f'],
  [[427, 640], [96, 64], 'linear', 'ede2b7752839bc78'],
  [[427, 640], [96, 64], 'lanczos3', '3cf75ae2fbfb1c71'],
  [[40, 30], [96, 64], 'lanczos3', '15375b3c57c36337'],
];
for (const [from, to, kernel, sha256] of ofPillow) {
  test(`${kernel} from ${from.join(' × ')} to ${to.join(' × ')} is Pillow’s, byte by byte`, () => {
    const resized = resample(scattered(size(from)), { from: size(from), to: size(to), kernel });
    assert.equal(createHash('sha256').update(resized).digest('hex').slice(0, 16), sha256);
  });
}
