import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { ServiceError } from '../../src/errors.js';
import { decodeImage, type PixelTarget } from '../../src/images/decode.js';

/** Made by `heif-enc -q 60` (`-b 10` for ten bits) of the picture that `quarters()` draws. */
const fixture = (name: string): Buffer =>
  readFileSync(new URL(`../../../test/images/fixtures/${name}`, import.meta.url));
const target: PixelTarget = { width: 96, height: 64, resize: 'stretch', kernel: 'cubic' };
const limits = { maxPixels: 50_000_000, maxSide: 65_535, heic: true };

for (const name of ['quarters.heic', 'quarters-10bit.heic']) {
  test(`${name} is decoded like the picture it was made of`, async () => {
    const { pixels, ...image } = await decodeImage(fixture(name), target, limits);
    assert.deepEqual(image, { width: 320, height: 200, format: 'heic' });
    const places: [x: number, y: number, colour: number[]][] = [
      [24, 16, [255, 0, 0]],
      [72, 16, [0, 255, 0]],
      [24, 48, [0, 0, 255]],
      [72, 48, [255, 255, 255]],
    ];
    for (const [x, y, colour] of places) {
      const at = (y * target.width + x) * 3;
      const found = [...pixels.subarray(at, at + 3)];
      assert.ok(
        found.every((value, channel) => Math.abs(value - (colour[channel] ?? NaN)) <= 12),
        `${found.join()} is not about ${colour.join()}`,
      );
    }
  });
}

/** Decodes a damaged file; anything else than pixels or a problem for the client fails the test. */
async function decodeDamaged(file: Buffer): Promise<void> {
  await decodeImage(file, target, limits).catch((error: unknown) => {
    assert.ok(error instanceof ServiceError, String(error));
    assert.match(error.code, /^(?:image_unreadable|image_too_many_pixels|unsupported_image_format)$/);
  });
}

test('a HEIC cut short is unreadable', async () => {
  await assert.rejects(
    decodeImage(fixture('quarters.heic').subarray(0, 700), target, limits),
    (error) => error instanceof ServiceError && error.code === 'image_unreadable',
  );
});

test('a HEIC whose header gives no size is unreadable', async () => {
  const file = fixture('quarters.heic');
  file.write('none', file.indexOf('ispe')); // the property that has the size
  await assert.rejects(
    decodeImage(file, target, limits),
    (error) => error instanceof ServiceError && error.code === 'image_unreadable',
  );
});

for (const size of [0, 1, 64, 4096, 0x7fffffff]) {
  for (const [side, at] of [
    ['width', 8],
    ['height', 12],
  ] as const) {
    test(`a HEIC whose header says a ${side} of ${size} pixels costs its own picture only`, async () => {
      const file = fixture('quarters.heic');
      file.writeUInt32BE(size, file.indexOf('ispe') + at);
      await decodeDamaged(file);
    });
  }
}

test('no damage to a HEIC does more than cost its own picture', async () => {
  for (const name of ['quarters.heic', 'quarters-10bit.heic']) {
    const whole = fixture(name);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), async (at, value) => {
        const damaged = Buffer.from(whole);
        damaged[at] = value;
        await decodeDamaged(damaged);
      }),
      { numRuns: 200 },
    );
  }
  assert.equal((await decodeImage(fixture('quarters.heic'), target, limits)).width, 320);
});

test('HEIC after HEIC takes no more memory than the first ones', async () => {
  const file = fixture('quarters.heic');
  for (let count = 0; count < 20; count += 1) await decodeImage(file, target, limits);
  const before = process.memoryUsage.rss();
  for (let count = 0; count < 100; count += 1) await decodeImage(file, target, limits);
  // A hundred pictures that were not freed would take 25 MB.
  assert.ok(process.memoryUsage.rss() - before < 20 * 1024 ** 2);
});
