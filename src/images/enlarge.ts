/** Catmull-Rom, the cubic of Keys (1981) with a = −0.5: what Pillow calls BICUBIC. */
function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

interface Taps {
  readonly first: number;
  readonly weights: Float64Array;
}

/** Which inputs each output is made of. Pixel centres lie at half numbers, and what falls outside is left out. */
function tapsOf(from: number, to: number): Taps[] {
  return Array.from({ length: to }, (_, index) => {
    const centre = ((index + 0.5) * from) / to;
    const first = Math.max(0, Math.floor(centre - 1.5));
    const end = Math.min(from, Math.floor(centre + 2.5));
    const raw = Array.from({ length: end - first }, (_, tap) => cubic(first + tap + 0.5 - centre));
    const sum = raw.reduce((total, weight) => total + weight, 0);
    return { first, weights: Float64Array.from(raw, (weight) => weight / sum) };
  });
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/**
 * Enlarges RGB pixels to a size that is no smaller either way, as Pillow's BICUBIC does: rows first, rounded, then columns.
 * libvips moves a picture by 0.4 of a pixel when it enlarges it, which changes six captions of ten; when it shrinks one,
 * it agrees with Pillow.
 *
 * @param pixels [height, width, 3] row-major
 * @returns [to.height, to.width, 3] row-major
 */
export function enlarge(pixels: Uint8Array, from: Size, to: Size): Uint8Array {
  // Storing in a clamped array rounds and keeps to 0…255. Columns and taps are outside, so that the innermost loop is plain
  // arithmetic over rows or over a row: a photo takes a few milliseconds of the thread that answers requests.
  const wide = new Uint8ClampedArray(from.height * to.width * 3);
  for (const [column, { first, weights }] of tapsOf(from.width, to.width).entries()) {
    for (let row = 0; row < from.height; row += 1) {
      let source = (row * from.width + first) * 3;
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let tap = 0; tap < weights.length; tap += 1, source += 3) {
        const weight = weights[tap] ?? 0;
        red += weight * (pixels[source] ?? 0);
        green += weight * (pixels[source + 1] ?? 0);
        blue += weight * (pixels[source + 2] ?? 0);
      }
      const target = (row * to.width + column) * 3;
      wide[target] = red;
      wide[target + 1] = green;
      wide[target + 2] = blue;
    }
  }
  const tall = new Uint8ClampedArray(to.height * to.width * 3);
  const stride = to.width * 3;
  const sums = new Float64Array(stride);
  for (const [row, { first, weights }] of tapsOf(from.height, to.height).entries()) {
    sums.fill(0);
    for (let tap = 0; tap < weights.length; tap += 1) {
      const weight = weights[tap] ?? 0;
      const source = (first + tap) * stride;
      for (let place = 0; place < stride; place += 1) {
        sums[place] = (sums[place] ?? 0) + weight * (wide[source + place] ?? 0);
      }
    }
    tall.set(sums, row * stride);
  }
  return new Uint8Array(tall.buffer);
}
