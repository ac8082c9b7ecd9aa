import assert from 'node:assert/strict';
import { test } from 'node:test';
import { enlarge } from '../../src/images/enlarge.js';

/** One row of grey pixels, and back. */
function row(...values: number[]): Uint8Array {
  return Uint8Array.from(values.flatMap((value) => [value, value, value]));
}

function greys(pixels: Uint8Array): number[] {
  return Array.from(pixels).filter((_, index) => index % 3 === 0);
}

test('a flat image stays flat', () => {
  const flat = enlarge(new Uint8Array(5 * 4 * 3).fill(77), { width: 5, height: 4 }, { width: 13, height: 9 });
  assert.equal(flat.length, 13 * 9 * 3);
  assert.ok(flat.every((value) => value === 77));
});

test('a ramp keeps its place: nothing moves by a part of a pixel', () => {
  const ramp = enlarge(
    row(0, 20, 40, 60, 80, 100, 120, 140),
    { width: 8, height: 1 },
    { width: 16, height: 1 },
  );
  // The centre of output i lies at (i + 0.5) / 2 of the input, whose values are 20 · (centre − 0.5) away from the ends.
  assert.deepEqual(greys(ramp).slice(4, 12), [35, 45, 55, 65, 75, 85, 95, 105]);
});

test('a mirrored image gives the mirrored result, in both directions', () => {
  const values = [9, 200, 31, 250, 4];
  const across = greys(enlarge(row(...values), { width: 5, height: 1 }, { width: 12, height: 1 }));
  const mirrored = greys(
    enlarge(row(...values.toReversed()), { width: 5, height: 1 }, { width: 12, height: 1 }),
  );
  assert.deepEqual(mirrored, across.toReversed());
  const down = greys(enlarge(row(...values), { width: 1, height: 5 }, { width: 1, height: 12 }));
  assert.deepEqual(down, across);
});

test('gives the numbers of Pillow’s BICUBIC', () => {
  // Image.fromarray(np.uint8([[10, 60, 250, 0]])).resize((7, 1), Image.Resampling.BICUBIC)
  const found = greys(enlarge(row(10, 60, 250, 0), { width: 4, height: 1 }, { width: 7, height: 1 }));
  assert.deepEqual(found, [6, 18, 52, 174, 245, 83, 0]);
});
