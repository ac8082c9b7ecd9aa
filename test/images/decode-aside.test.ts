import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { decodeAside, reusePixels } from '../../src/images/decode-aside.js';
import { ServiceError } from '../../src/problem.js';
import { quarters, svg } from './drawn.js';

const target = { width: 16, height: 16, resize: 'stretch', kernel: 'cubic' } as const;
const decode = (bytes: Uint8Array) =>
  decodeAside(Uint8Array.from(bytes), target, {
    maxPixels: 50_000_000,
    deadline: performance.now() + 30_000,
    fastJpeg: false,
  });

const small = await quarters().png().toBuffer();
const large = await quarters(4000, 3000).jpeg().toBuffer();

const threads: Worker[] = [];
process.on('worker', (thread) => threads.push(thread));

test('images side by side each get their own result', async () => {
  const sizes = [20, 300, 50, 200];
  const images = await Promise.all(sizes.map((side) => quarters(side, 40).png().toBuffer()));
  const decoded = await Promise.all(images.map(decode));
  assert.deepEqual(
    decoded.map(({ width }) => width),
    sizes,
  );
  const { length: started } = threads;
  await Promise.all(images.map(decode));
  assert.equal(threads.length, started, 'threads that waited were not taken again');
});

test('bytes are handed over, but for those whose memory belongs to others too', async () => {
  const limits = { maxPixels: 50_000_000, deadline: performance.now() + 30_000, fastJpeg: false };
  const own = Uint8Array.from(small);
  assert.equal((await decodeAside(own, target, limits)).width, 320);
  assert.equal(own.length, 0);

  const two = Buffer.concat([small, small]);
  const first = two.subarray(0, small.length);
  assert.equal((await decodeAside(first, target, limits)).width, 320);
  assert.deepEqual(two, Buffer.concat([small, small]));
});

test('pixels that are given back become those of a later image, whatever its target', async () => {
  const { pixels: expected } = await decode(small);
  const { pixels } = await decode(large);
  reusePixels(pixels);
  const { pixels: again } = await decode(small);
  assert.equal(pixels.length, 0, 'the memory was not handed on');
  assert.deepEqual(again, expected);

  // Memory of another size is of no use, and does no harm.
  reusePixels(again);
  const other = { width: 8, height: 10, resize: 'crop', kernel: 'cubic' } as const;
  const limits = { maxPixels: 50_000_000, deadline: performance.now() + 30_000, fastJpeg: false };
  const cut = await decodeAside(Uint8Array.from(small), other, limits);
  assert.equal(cut.pixels.length, 8 * 10 * 3);
  assert.deepEqual((await decode(small)).pixels, expected);
});

test('what is wrong with an image is told with its cause', async () => {
  await assert.rejects(decode(small.subarray(0, 60)), (error) => {
    assert.ok(error instanceof ServiceError);
    assert.equal(error.code, 'image_unreadable');
    assert.ok(error.cause instanceof Error);
    return true;
  });
});

test('a thread that dies takes only its own image along, and is replaced', async () => {
  await Promise.all([decode(small), decode(small)]);
  const before = threads.length;
  // More than threads wait, so the last ones get new threads.
  const decodings = Array.from({ length: before + 1 }, () => decode(large));
  await new Promise(setImmediate); // the event of a new thread comes with the next tick
  await threads[before]?.terminate();
  const outcomes = await Promise.allSettled(decodings);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    [...Array.from({ length: before }, () => 'fulfilled'), 'rejected'],
  );
  assert.equal((await decode(small)).width, 320);
});

test('a thread that dies while its image waits for room takes none', async () => {
  let enter: ((leave: () => void) => void) | undefined;
  const budget = {
    take: (pixels: number) =>
      new Promise<() => void>((resolve) => {
        if (pixels === 0) resolve(() => undefined);
        else enter = resolve;
      }),
  };
  const decoding = decodeAside(
    Uint8Array.from(small),
    target,
    { maxPixels: 50_000_000, deadline: performance.now() + 30_000, fastJpeg: false },
    { budget, allowance: 0 },
  );
  decoding.catch(() => undefined);
  while (enter === undefined) await new Promise(setImmediate);
  await Promise.all(threads.map((thread) => thread.terminate()));
  await assert.rejects(decoding, /died/);
  const left = new Promise<void>((resolve) => enter?.(resolve));
  await left;
});

test('the thread that answers requests hardly works while images are decoded', async () => {
  await decode(large);
  const before = performance.eventLoopUtilization();
  for (let image = 0; image < 5; image++) await decode(large);
  const { active, idle } = performance.eventLoopUtilization(before);
  assert.ok(active < (active + idle) / 10, `${active.toFixed(0)} ms of ${(active + idle).toFixed(0)}`);
});

test('a thread that dies while it waits is not asked again', async () => {
  await decode(small);
  await Promise.all(threads.map((thread) => thread.terminate()));
  assert.equal((await decode(small)).width, 320);
});

test('no thread of the process reads a format whose loader is closed', async () => {
  const reading = `
    const { parentPort } = require('node:worker_threads');
    parentPort.once('message', (svg) => {
      import('sharp').then(({ default: sharp }) => sharp(Buffer.from(svg)).metadata()).then(
        () => parentPort.postMessage('read'),
        ({ message }) => parentPort.postMessage(message),
      );
    });
  `;
  const stranger = new Worker(reading, { eval: true });
  stranger.postMessage(svg);
  const answer: unknown = await new Promise((resolve) => stranger.once('message', resolve));
  await stranger.terminate();
  assert.match(String(answer), /unsupported image format/);
});

test('a thread at rest does not keep the pixels of a large image', { timeout: 60_000 }, async () => {
  const enormous = await quarters(7000, 7000).png({ compressionLevel: 1 }).toBuffer();
  await decode(enormous);
  const before = process.memoryUsage.rss();
  // A thread each.
  await Promise.all([decode(enormous), decode(enormous)]);
  // The pixels of one image are 147 MB. Memory is given back a little after the answer.
  while (process.memoryUsage.rss() - before > 120e6) await setTimeout(20);
});

describe('the end of the process', () => {
  const prepared = (program: string) => `
    (async () => {
      const { decodeAside } = await import('${new URL('../../src/images/decode-aside.js', import.meta.url).href}');
      const image = Buffer.from('${large.toString('base64')}', 'base64');
      const decode = () => decodeAside(Buffer.concat([image]), ${JSON.stringify(target)}, {
        maxPixels: 5e7, deadline: performance.now() + 30000, fastJpeg: false,
      });
      ${program}
    })();
  `;

  async function endOf(
    program: string,
  ): Promise<{ code: number | null; signal: string | null; output: string }> {
    const child = spawn(process.execPath, ['-'], { stdio: ['pipe', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stdin.end(prepared(program));
    await once(child, 'close');
    return { code: child.exitCode, signal: child.signalCode, output };
  }

  test('comes by itself when the last image is decoded, not before', async () => {
    const end = await endOf("void decode().then(({ width }) => console.log(width, 'pixels wide'));");
    assert.deepEqual(end, { code: 0, signal: null, output: '4000 pixels wide\n' });
  });

  test('can be called for in the middle of decoding', async () => {
    const end = await endOf(`
      await decode();
      for (let thread = 0; thread < 3; thread++) void decode();
      setTimeout(() => process.exit(7), 20);
    `);
    assert.deepEqual(end, { code: 7, signal: null, output: '' });
  });
});
