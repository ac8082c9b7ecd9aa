import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDecoder } from '../../src/images/decoder.js';
import { noise, quarters } from './drawn.js';

const target = { width: 16, height: 16, resize: 'stretch', kernel: 'cubic' } as const;
const request = (signal: AbortSignal, priority: 'single' | 'batch' = 'single') => ({
  maxPixels: 1_000_000,
  deadline: performance.now() + 30_000,
  priority,
  signal,
});

test('an image whose client left while others were decoded is not decoded', async () => {
  const decode = createDecoder({ concurrency: 1, fastJpeg: false });
  const image = await quarters().png().toBuffer();
  const client = new AbortController();
  const first = decode(image, target, request(new AbortController().signal));
  const second = decode(image, target, request(client.signal));
  client.abort();
  assert.equal((await first).pixels.length, 16 * 16 * 3);
  await assert.rejects(second, { name: 'AbortError' });
});

test('images wait for a free decoder and are decoded in order', async () => {
  const decode = createDecoder({ concurrency: 1, fastJpeg: false });
  const large = await quarters(2000, 2000).png().toBuffer();
  const small = await quarters(8, 8).png().toBuffer();
  const finished: string[] = [];
  const signal = new AbortController().signal;
  await Promise.all([
    decode(large, target, { ...request(signal), maxPixels: 4_000_000 }).then(() => finished.push('large')),
    decode(small, target, request(signal)).then(() => finished.push('small')),
  ]);
  assert.deepEqual(finished, ['large', 'small']);
});

test('a single image goes before those of a batch that wait', async () => {
  const decode = createDecoder({ concurrency: 1, fastJpeg: false });
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
  const exact = createDecoder({ concurrency: 1, fastJpeg: false });
  const fast = createDecoder({ concurrency: 1, fastJpeg: true });
  const pixelsOf = async (decode: typeof exact, image: Uint8Array) =>
    (await decode(image, target, request(signal))).pixels;
  const large = await noise(200, 150).jpeg().toBuffer();
  assert.notDeepEqual(await pixelsOf(fast, large), await pixelsOf(exact, large));
  const small = await noise(60, 60).jpeg().toBuffer();
  assert.deepEqual(await pixelsOf(fast, small), await pixelsOf(exact, small));
});
