import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import sharp from 'sharp';
import { type ErrorCode, ServiceError } from '../../src/errors.js';
import { decodeImage, type PixelTarget } from '../../src/images/decode.js';
import { imageFormats } from '../../src/images/format.js';
import type { DecodeLimits } from '../../src/images/limits.js';
import { heic, noise, pdf, pngClaiming, quarters, svg } from './drawn.js';

type Size = Pick<PixelTarget, 'width' | 'height'>;

const target: PixelTarget = { width: 96, height: 64, resize: 'stretch', kernel: 'cubic' };
const limits: DecodeLimits = { maxPixels: 50_000_000, maxSide: 65_535, heic: true };

const decode = (bytes: Uint8Array, to = target, options: Partial<DecodeLimits> = {}) =>
  decodeImage(bytes, to, { ...limits, ...options });

/** Formats that sharp can write too; HEIC has fixtures of its own. */
const drawnFormats = imageFormats.filter((format) => format !== 'heic');

/** The colour at a place given as shares of width and height. */
function colourAt(pixels: Uint8Array, x: number, y: number, { width, height } = target): number[] {
  const start = (Math.floor(y * height) * width + Math.floor(x * width)) * 3;
  return [...pixels.subarray(start, start + 3)];
}

function assertColour(actual: number[], expected: number[], tolerance = 12): void {
  const off = actual.map((value, channel) => Math.abs(value - (expected[channel] ?? NaN)));
  assert.ok(Math.max(...off) <= tolerance, `${actual.join()} is not about ${expected.join()}`);
}

async function assertProblem(decoding: Promise<unknown>, code: ErrorCode, detail?: RegExp): Promise<void> {
  await assert.rejects(decoding, (error) => {
    assert.ok(error instanceof ServiceError, String(error));
    assert.equal(error.code, code, error.detail);
    if (detail !== undefined) assert.match(error.detail, detail);
    return true;
  });
}

describe('every format', () => {
  for (const format of drawnFormats) {
    test(`${format} is decoded to the target's size in RGB`, async () => {
      const sent = await quarters().toFormat(format).toBuffer();
      const image = await decode(sent);
      assert.equal(image.pixels.length, 96 * 64 * 3);
      assert.deepEqual({ ...image, pixels: null }, { pixels: null, width: 320, height: 200, format });
      assertColour(colourAt(image.pixels, 0.25, 0.25), [255, 0, 0]);
      assertColour(colourAt(image.pixels, 0.75, 0.25), [0, 255, 0]);
      assertColour(colourAt(image.pixels, 0.25, 0.75), [0, 0, 255]);
      assertColour(colourAt(image.pixels, 0.75, 0.75), [255, 255, 255]);
    });

    test(`a ${format} cut short is unreadable`, async () => {
      const whole = await noise().toFormat(format, { lossless: false }).toBuffer();
      await assertProblem(decode(whole.subarray(0, whole.length / 2)), 'image_unreadable');
    });
  }
});

describe('what a photo carries', () => {
  // Where the stored top left (red) and top right (green) belong (Exif 2.32, tag 0x0112).
  const places = {
    topLeft: { x: 0.25, y: 0.25 },
    topRight: { x: 0.75, y: 0.25 },
    bottomLeft: { x: 0.25, y: 0.75 },
    bottomRight: { x: 0.75, y: 0.75 },
  };
  const orientations = [
    [1, 'topLeft', 'topRight'],
    [2, 'topRight', 'topLeft'],
    [3, 'bottomRight', 'bottomLeft'],
    [4, 'bottomLeft', 'bottomRight'],
    [5, 'topLeft', 'bottomLeft'],
    [6, 'topRight', 'bottomRight'],
    [7, 'bottomRight', 'topRight'],
    [8, 'bottomLeft', 'topLeft'],
  ] as const;
  for (const [orientation, red, green] of orientations) {
    test(`EXIF orientation ${orientation} is applied`, async () => {
      const image = await decode(
        await quarters().jpeg({ quality: 95 }).withMetadata({ orientation }).toBuffer(),
      );
      assert.deepEqual([image.width, image.height], orientation >= 5 ? [200, 320] : [320, 200]);
      assertColour(colourAt(image.pixels, places[red].x, places[red].y), [255, 0, 0]);
      assertColour(colourAt(image.pixels, places[green].x, places[green].y), [0, 255, 0]);
    });
  }

  test('transparent parts become white, half transparent ones half white', async () => {
    const at = (alpha: number) =>
      sharp({ create: { width: 20, height: 20, channels: 4, background: { r: 0, g: 0, b: 255, alpha } } })
        .png()
        .toBuffer();
    assertColour(colourAt((await decode(await at(0))).pixels, 0.5, 0.5), [255, 255, 255], 1);
    assertColour(colourAt((await decode(await at(0.5))).pixels, 0.5, 0.5), [127, 127, 255], 1);
  });

  for (const format of ['gif', 'webp'] as const) {
    test(`the first frame of an animated ${format} is taken`, async () => {
      const frame = (background: string) =>
        ({ create: { width: 40, height: 30, channels: 3, background } }) as const;
      const frames = await Promise.all(
        ['#ff0000', '#0000ff'].map((colour) => sharp(frame(colour)).png().toBuffer()),
      );
      const animation = await sharp(frames, { join: { animated: true } })
        .toFormat(format)
        .toBuffer();
      assert.equal((await sharp(animation).metadata()).pages, 2);
      const image = await decode(animation);
      assert.deepEqual([image.width, image.height], [40, 30]);
      assertColour(colourAt(image.pixels, 0.5, 0.5), [255, 0, 0]);
    });
  }

  test('CMYK becomes sRGB', async () => {
    const image = await decode(await quarters().toColourspace('cmyk').jpeg({ quality: 95 }).toBuffer());
    const [red = 0, green = 0, blue = 0] = colourAt(image.pixels, 0.25, 0.25);
    // Print has no pure red, so the profile may darken it; it stays clearly red.
    assert.ok(red > 180 && green < 90 && blue < 90, `${red},${green},${blue}`);
    assertColour(colourAt(image.pixels, 0.75, 0.75), [255, 255, 255], 3);
  });

  test('sixteen bits a channel become eight', async () => {
    const deep = await quarters().toColourspace('rgb16').png().toBuffer();
    assert.equal((await sharp(deep).metadata()).depth, 'ushort');
    assertColour(colourAt((await decode(deep)).pixels, 0.25, 0.25), [255, 0, 0], 1);
  });

  test('grey pictures become three equal channels', async () => {
    const grey = await sharp({ create: { width: 30, height: 30, channels: 3, background: '#777777' } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
    assertColour(colourAt((await decode(grey)).pixels, 0.5, 0.5), [0x77, 0x77, 0x77], 1);
  });

  test('one pixel is enough', async () => {
    const dot = await sharp({ create: { width: 1, height: 1, channels: 3, background: '#123456' } })
      .png()
      .toBuffer();
    const image = await decode(dot);
    assert.deepEqual([image.width, image.height], [1, 1]);
    for (const place of [0, 0.5, 0.99])
      assertColour(colourAt(image.pixels, place, place), [0x12, 0x34, 0x56], 1);
  });
});

describe('the way to the target size', () => {
  test('stretch keeps the whole picture', async () => {
    const image = await decode(await quarters(600, 100).png().toBuffer());
    assertColour(colourAt(image.pixels, 0.1, 0.25), [255, 0, 0]);
    assertColour(colourAt(image.pixels, 0.9, 0.25), [0, 255, 0]);
  });

  test('crop fits the short side and cuts the middle out', async () => {
    const square: PixelTarget = { width: 50, height: 50, resize: 'crop', kernel: 'cubic' };
    const stripe = { create: { width: 100, height: 100, channels: 3, background: '#00ff00' } } as const;
    const wide = await sharp({ create: { width: 300, height: 100, channels: 3, background: '#ff0000' } })
      .composite([{ input: stripe, left: 100, top: 0 }])
      .png()
      .toBuffer();
    const { pixels } = await decode(wide, square);
    assert.equal(pixels.length, 50 * 50 * 3);
    for (const x of [0.06, 0.5, 0.94]) assertColour(colourAt(pixels, x, 0.5, square), [0, 255, 0]);
  });

  // Sizes, what CLIP fits them to, and the corner of the middle that it cuts out of that.
  const fitted: [Size, Size, left: number, top: number][] = [
    [{ width: 640, height: 427 }, { width: 335, height: 224 }, 56, 0], // 335.7 is cut, 55.5 goes to the even 56
    [{ width: 427, height: 640 }, { width: 224, height: 335 }, 0, 56],
    [{ width: 500, height: 495 }, { width: 226, height: 224 }, 1, 0],
    [{ width: 300, height: 299 }, { width: 224, height: 224 }, 0, 0], // 224.7
    [{ width: 230, height: 227 }, { width: 226, height: 224 }, 1, 0],
    [{ width: 225, height: 224 }, { width: 225, height: 224 }, 0, 0], // 0.5 goes to 0
  ];
  for (const [sent, fit, left, top] of fitted) {
    test(`crop has CLIP's roundings for ${sent.width} × ${sent.height}`, async () => {
      const png = await noise(sent.width, sent.height).png().toBuffer();
      const clip: PixelTarget = { width: 224, height: 224, resize: 'crop', kernel: 'cubic' };
      const whole = await decode(png, { ...fit, resize: 'stretch', kernel: 'cubic' });
      const middle = await sharp(whole.pixels, { raw: { ...fit, channels: 3 } })
        .extract({ left, top, width: 224, height: 224 })
        .raw()
        .toBuffer();
      assert.deepEqual(Buffer.from((await decode(png, clip)).pixels), middle);
    });
  }

  const small: [Size, Size, left: number, top: number][] = [
    [{ width: 100, height: 101 }, { width: 224, height: 226 }, 0, 1],
    [{ width: 75, height: 50 }, { width: 336, height: 224 }, 56, 0],
    [{ width: 203, height: 200 }, { width: 227, height: 224 }, 2, 0], // 1.5 goes to 2
  ];
  for (const [sent, fit, left, top] of small) {
    test(`crop enlarges ${sent.width} × ${sent.height} around the centres of its pixels`, async () => {
      // Red grows to the right and green downwards, so that each colour is a place.
      const ramp = Buffer.from(
        Array.from({ length: sent.width * sent.height }, (_, at) => [
          at % sent.width,
          Math.floor(at / sent.width),
          0,
        ]).flat(),
      );
      const png = await sharp(ramp, { raw: { ...sent, channels: 3 } })
        .png()
        .toBuffer();
      const { pixels } = await decode(png, { width: 224, height: 224, resize: 'crop', kernel: 'cubic' });
      for (const at of [30, 100, 112, 190]) {
        const place = (at * 224 + at) * 3;
        const x = ((at + left + 0.5) * sent.width) / fit.width - 0.5;
        const y = ((at + top + 0.5) * sent.height) / fit.height - 0.5;
        const [red = NaN, green = NaN] = pixels.subarray(place, place + 2);
        assert.ok(Math.abs(red - x) <= 1 && Math.abs(green - y) <= 1, `${red}, ${green} at ${x}, ${y}`);
      }
    });
  }

  test('the middle of a panorama is cut out too', async () => {
    const square: PixelTarget = { width: 50, height: 50, resize: 'crop', kernel: 'cubic' };
    const { pixels } = await decode(await quarters(4000, 40).png().toBuffer(), square);
    assertColour(colourAt(pixels, 0.1, 0.25, square), [255, 0, 0]);
    assertColour(colourAt(pixels, 0.9, 0.75, square), [255, 255, 255]);
  });

  test('a large JPEG is shrunk while it is decoded, and nothing moves', async () => {
    const square: PixelTarget = { width: 288, height: 288, resize: 'stretch', kernel: 'cubic' };
    const photo = await quarters(4000, 3000).jpeg({ quality: 95 }).toBuffer();
    const { pixels } = await decode(photo, square);
    const whole = await sharp(photo)
      .resize(288, 288, { fit: 'fill', kernel: 'cubic', fastShrinkOnLoad: false })
      .raw()
      .toBuffer();
    const mean =
      pixels.reduce((sum, value, at) => sum + Math.abs(value - (whole[at] ?? NaN)), 0) / pixels.length;
    assert.ok(mean < 1.5, `mean difference ${mean} of 255`);
  });
});

describe('what is refused', () => {
  const cases: [string, Buffer, ErrorCode, RegExp?][] = [
    ['no bytes', Buffer.alloc(0), 'empty_image'],
    ['text', Buffer.from('just some words, no picture\n'), 'unsupported_image_format', /no image format/],
    ['SVG', svg, 'unsupported_image_format', /^SVG /],
    ['SVG behind a comment', Buffer.from('<!-- drawn --> <svg/>'), 'unsupported_image_format', /^SVG /],
    ['PDF', pdf, 'unsupported_image_format', /^PDF /],
    ['a HEIC without its picture', heic, 'image_unreadable'],
    [
      'a HEIC sequence',
      Buffer.from('\0\0\0\x18ftyphevc\0\0\0\0'),
      'unsupported_image_format',
      /^A HEIC sequence /,
    ],
    ['JPEG 2000', Buffer.from('\0\0\0\x0cjP  \r\n'), 'unsupported_image_format', /^JPEG 2000 /],
    ['BMP', Buffer.from('BM\x36\0\0\0'), 'unsupported_image_format', /^BMP /],
    ['a JPEG signature and nothing else', Buffer.from([0xff, 0xd8, 0xff]), 'image_unreadable'],
  ];
  for (const [name, bytes, code, detail] of cases) {
    test(name, () => assertProblem(decode(bytes), code, detail));
  }

  test('HEVC inside a file that calls itself AVIF', async () => {
    const avif = await quarters().avif().toBuffer();
    const disguised = Buffer.from(
      avif.toString('latin1').replaceAll('av01', 'hvc1').replaceAll('av1C', 'hvcC'),
      'latin1',
    );
    await assert.rejects(decode(disguised), ServiceError);
  });

  test('the loaders of other formats are closed, whatever would get past the signature', async () => {
    await assert.rejects(sharp(svg).metadata(), /unsupported image format/);
  });

  test('more pixels than the limit, without decoding them', async () => {
    const image = await quarters(300, 200).png().toBuffer();
    const tight = { maxPixels: 59_999 };
    await assertProblem(decode(image, target, tight), 'image_too_many_pixels', /300 × 200/);
    await decode(image, target, { maxPixels: 60_000 });
  });

  test('a header that claims 60,000 × 60,000', async () => {
    await assertProblem(decode(await pngClaiming(60_000, 60_000)), 'image_too_many_pixels', /60000 × 60000/);
  });

  test('a side of more pixels than the limit', async () => {
    const image = await quarters(300, 2).png().toBuffer();
    await assertProblem(decode(image, target, { maxSide: 299 }), 'image_too_many_pixels', /300 × 2/);
    await decode(image, target, { maxSide: 300 });
  });

  test('HEIC where it is switched off', () =>
    assertProblem(decode(heic, target, { heic: false }), 'unsupported_image_format', /^HEIC is not taken/));

  test('no library message reaches the client', async () => {
    for (const format of drawnFormats) {
      const whole = await noise().toFormat(format).toBuffer();
      await assert.rejects(decode(whole.subarray(0, 40)), (error) => {
        assert.ok(error instanceof ServiceError);
        assert.doesNotMatch(error.detail, /vips|heif|buffer|libpng|seek/i);
        return true;
      });
    }
  });
});
