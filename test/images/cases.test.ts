import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ServiceError } from '../../src/errors.js';
import { decodeImage, type PixelTarget } from '../../src/images/decode.js';

/** Pictures that were once decoded wrongly, drawn for these tests. Each stands for a kind of fault. */
const folder = new URL('../../../test/images/cases/', import.meta.url);
const target: PixelTarget = { width: 96, height: 64, resize: 'stretch', kernel: 'cubic' };
const limits = { maxPixels: 50_000_000, maxSide: 65_535, heic: true };

async function pixelsOf(name: string): Promise<Uint8Array> {
  return (await decodeImage(readFileSync(new URL(name, folder)), target, limits)).pixels;
}

/** Mean difference in levels of 255. */
async function difference(name: string, reference: string): Promise<number> {
  const [pixels, clean] = await Promise.all([pixelsOf(name), pixelsOf(reference)]);
  return pixels.reduce((sum, value, at) => sum + Math.abs(value - (clean[at] ?? NaN)), 0) / pixels.length;
}

/** The picture that each file shows, and by how many levels it may differ on average. */
const decoded = [
  ['jpeg-without-eoi.jpg', 'ref.png', 3],
  ['jpeg-half-eoi.jpg', 'ref.png', 3],
  ['png16-srgb-profile.png', 'ref.png', 1],
  ['avif10-srgb-profile.avif', 'ref.png', 1],
  ['avif-animated.avif', 'ref.png', 3],
  ['png8-gray-profile.png', 'ref-gray-profile.png', 1],
  ['png16-gray-profile.png', 'ref-gray-profile.png', 1],
  ['tiff-rgb-plus-selection.tif', 'ref.png', 1],
  ['tiff-rgb-plus-two-channels.tif', 'ref.png', 1],
  ['tiff-thumbnail-first.tif', 'ref.png', 1],
] as const;
for (const [name, reference, most] of decoded) {
  test(`${name} shows what ${reference} shows`, async () => {
    const found = await difference(name, reference);
    assert.ok(found <= most, `mean difference ${found} of 255`);
  });
}

test('a PNG whose text chunks inflate to 800 MB is decoded like any other', async () => {
  const before = process.memoryUsage.rss();
  await pixelsOf('png-100-ztxt.png');
  assert.ok(process.memoryUsage.rss() - before < 100 * 1024 ** 2);
});

const refused = [
  ['thin-10000000x1.png', 'image_too_many_pixels', /10000000 × 1/],
  ['thin-50000000x1.png', 'image_too_many_pixels', /50000000 × 1/],
  ['scans-1300-7000x7000.jpg', 'image_too_complex', /scans/],
  ['jpeg-cut-at-25-closed.jpg', 'image_unreadable', /truncated/],
  ['tiff-cmyk-plus-spot.tif', 'unsupported_image_format', /^TIFF in CMYK with spot colours/],
  ['tiff-lab8.tif', 'unsupported_image_format', /^TIFF with Lab colours/],
  ['tiff-tiled-separate-planes.tif', 'unsupported_image_format', /^TIFF with tiles in separate planes/],
  ['tiff-zstd.tif', 'unsupported_image_format', /^TIFF with Zstandard compression/],
  ['png-cgbi.png', 'unsupported_image_format', /CgBI/],
  ['tiff-float-gray-0to1.tif', 'unsupported_image_format', /floating point/],
  ['tiff-float-elevation.tif', 'unsupported_image_format', /floating point/],
] as const;
for (const [name, code, detail] of refused) {
  test(`${name} is refused, and told why`, async () => {
    await assert.rejects(pixelsOf(name), (error) => {
      assert.ok(error instanceof ServiceError, String(error));
      assert.equal(error.code, code, error.detail);
      assert.match(error.detail, detail);
      return true;
    });
  });
}
