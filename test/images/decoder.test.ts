import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDecoder as createOwningDecoder, type Decoder } from '../../src/images/decoder.js';
import { createPixelBudget, type PixelBudget } from '../../src/images/pixel-budget.js';
import { noise, quarters } from './drawn.js';

const target = { width: 16, height: 16, resize: 'stretch', kernel: 'cubic' } as const;
/** Hands over a copy: memory that sharp made cannot be. */
const createDecoder = (...[options, budget]: Parameters<typeof createOwningDecoder>): Decoder => {
  const decode = createOwningDecoder(options, budget);
  return (bytes, ...rest) => decode(Uint8Array.from(bytes), ...rest);
};
const oneAtATime = { decoders: 1, fastJpeg: false, maxPixels: 4_000_000 };
const request = (signal: AbortSignal, priority: 'single' | 'batch' = 'single') => ({
  deadline: performance.now() + 30_000,
  priority,
  signal,
});

test('an image whose client left while others were decoded is not decoded', async () => {
  const decode = createDecoder(oneAtATime);
  const image = await quarters().png().toBuffer();
  const client = new AbortController();
  const first = decode(image, target, request(new AbortController().signal));
  const second = decode(image, target, request(client.signal));
  client.abort();
  assert.equal((await first).pixels.length, 16 * 16 * 3);
  await assert.rejects(second, { name: 'AbortError' });
});

test('images wait for a free decoder and are decoded in order', async () => {
  const decode = createDecoder(oneAtATime);
  const large = await quarters(2000, 2000).png().toBuffer();
  const small = await quarters(8, 8).png().toBuffer();
  const finished: string[] = [];
  const signal = new AbortController().signal;
  await Promise.all([
    decode(large, target, request(signal)).then(() => finished.push('large')),
    decode(small, target, request(signal)).then(() => finished.push('small')),
  ]);
  assert.deepEqual(finished, ['large', 'small']);
});

test('a single image goes before those of a batch that wait', async () => {
  const decode = createDecoder(oneAtATime);
  const image = await quarters().png().toBuffer();
  const finished: string[] = [];
  const { signal } = new AbortController();
  const finish = (name: string, priority: 'single' | 'batch') =>
    decode(image, target, request(signal, priority)).then(() => finished.push(name));
  await Promise.all([
    finish('batch 1', 'batch'),
    finish('batch 2', 'batch'),
    finish('batch 3', 'batch'),
    finish('single', 'single'),
  ]);
  assert.deepEqual(finished, ['batch 1', 'single', 'batch 2', 'batch 3']);
});

test('an operator who prefers speed gets other pixels of a large JPEG, and the same of a small one', async () => {
  const { signal } = new AbortController();
  const exact = createDecoder(oneAtATime);
  const fast = createDecoder({ ...oneAtATime, fastJpeg: true });
  const pixelsOf = async (decode: typeof exact, image: Uint8Array) =>
    (await decode(image, target, request(signal))).pixels;
  const large = await noise(200, 150).jpeg().toBuffer();
  assert.notDeepEqual(await pixelsOf(fast, large), await pixelsOf(exact, large));
  const small = await noise(60, 60).jpeg().toBuffer();
  assert.deepEqual(await pixelsOf(fast, small), await pixelsOf(exact, small));
});

/** What was asked of a budget, and how many pixels have not been given back. */
function watched(budget: PixelBudget) {
  const asked: number[] = [];
  const use = { now: 0 };
  return {
    asked,
    use,
    async take(pixels: number) {
      asked.push(pixels);
      const leave = await budget.take(pixels);
      use.now += pixels;
      return () => {
        use.now -= pixels;
        leave();
      };
    },
  };
}

test('an image is decoded when there is room for its pixels, not before', { timeout: 60_000 }, async () => {
  const small = await noise(20, 20).png().toBuffer();
  const large = await noise(1500, 1500).png().toBuffer();
  let enter: (() => void) | undefined;
  const budget: PixelBudget = {
    take: (pixels) =>
      new Promise((resolve) => {
        const admit = () => {
          resolve(() => undefined);
        };
        if (pixels === 2_250_000) enter = admit;
        else admit();
      }),
  };
  const decode = createDecoder({ ...oneAtATime, decoders: 2 }, budget);
  const { signal } = new AbortController();
  const finished: string[] = [];
  const waits = decode(large, target, request(signal)).then(() => finished.push('large'));
  while (enter === undefined) await new Promise(setImmediate);
  await decode(small, target, request(signal)).then(() => finished.push('small'));
  enter();
  await waits;
  assert.deepEqual(finished, ['small', 'large']);
});

test('large images side by side do not wait for each other for ever', { timeout: 60_000 }, async () => {
  const decode = createDecoder({ decoders: 2, fastJpeg: false, maxPixels: 60_000 });
  const { signal } = new AbortController();
  const image = await noise(300, 200).png().toBuffer();
  // Each has half of the room at first, and needs all of it.
  const decoded = await Promise.all([1, 2, 3].map(() => decode(image, target, request(signal))));
  assert.equal(decoded.length, 3);
});

test('a decoder has room for the largest image there may be', { timeout: 60_000 }, async () => {
  const maxPixels = 60_000;
  const { signal } = new AbortController();
  const decode = createDecoder({ decoders: 4, fastJpeg: false, maxPixels });
  const images = await Promise.all([100, 150, 200].map((height) => noise(300, height).png().toBuffer()));
  const decoded = await Promise.all(
    [...images, ...images].map((image) => decode(image, target, request(signal))),
  );
  assert.deepEqual(
    decoded.map(({ height }) => height),
    [100, 150, 200, 100, 150, 200],
  );
});

test('an image gives its pixels back when it cannot be decoded', async () => {
  const budget = watched(createPixelBudget(60_000));
  const decode = createDecoder({ decoders: 3, fastJpeg: false, maxPixels: 60_000 }, budget);
  const { signal } = new AbortController();
  const image = await noise(200, 150).png().toBuffer();
  await assert.rejects(decode(image.subarray(0, image.length / 2), target, request(signal)));
  assert.deepEqual([budget.asked, budget.use.now], [[20_000, 30_000], 0]);
});

test('an image asks for room beyond its part, a JPEG for no more pixels than are decoded of it', async () => {
  const budget = watched(createPixelBudget(4_000_000));
  const { signal } = new AbortController();
  for (const fastJpeg of [false, true]) {
    const decode = createDecoder({ decoders: 40, maxPixels: 4_000_000, fastJpeg }, budget);
    for (const format of ['jpeg', 'png'] as const) {
      const image = await quarters(800, 600).toFormat(format).toBuffer();
      await decode(image, target, request(signal));
    }
  }
  const part = 100_000;
  assert.deepEqual(budget.asked, [part, 480_000, part, 480_000, part, part, 480_000]);
  assert.equal(budget.use.now, 0);
});
