import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import { describe, it, type TestContext } from 'node:test';
import sharp from 'sharp';
import { ServiceError } from '../../src/errors.js';
import type { DecodedImage, PixelTarget } from '../../src/images/decode.js';
import { DecodePool, type DecodePoolOptions, type DecodePriority } from '../../src/images/decode-pool.js';
import { fates } from './decode-fates.js';
import { ClientDisconnected, deadlineExceeded } from '../../src/promises.js';

const never = new AbortController().signal;
setMaxListeners(0, never);
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const fakeWorker = new URL('fake-decode-worker.js', import.meta.url);

function poolOf(t: TestContext, options: Partial<DecodePoolOptions> = {}, isReal = false) {
  const pool = new DecodePool(
    {
      decoders: 2,
      maxPixels: 50_000_000,
      maxSide: 65_535,
      heic: true,
      decodeTimeoutMs: 60_000,
      decodeMemoryBytes: 1024 ** 3,
      ...options,
    },
    quiet,
    undefined,
    ...(isReal ? [] : [fakeWorker]),
  );
  t.after(() => pool.close());
  return pool;
}

function targetOf(fate: keyof typeof fates): PixelTarget {
  return { width: fates[fate], height: 1, resize: 'stretch', kernel: 'cubic' };
}

const png = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: '#808080' } })
    .png({ compressionLevel: 1 })
    .toBuffer();
const small = await png(8, 8);
const large = await png(4000, 3000);

interface Asked {
  readonly fate?: keyof typeof fates;
  readonly bytes?: Buffer;
  readonly priority?: DecodePriority;
  readonly signal?: AbortSignal;
}

function decode(
  pool: DecodePool,
  { fate = 'decode', bytes = small, priority = 'single', signal = never }: Asked = {},
): Promise<DecodedImage> {
  return pool.decode(bytes, targetOf(fate), { priority, signal });
}

function fails(promise: Promise<unknown>, code: string): Promise<void> {
  return assert.rejects(promise, (error) => error instanceof ServiceError && error.code === code);
}

/** Lets the process with this id answer the image that it holds. */
function letGo(pid: number): void {
  process.kill(pid, 'SIGUSR2');
}

/** Resolves with the ids of the processes that decode. */
async function busyPids(pool: DecodePool, count: number): Promise<number[]> {
  for (;;) {
    const pids = pool.processes.flatMap(({ isBusy, pid }) => (isBusy && pid !== undefined ? [pid] : []));
    if (pids.length === count) return pids;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('the decode pool', () => {
  it('decodes images in processes of its own', async (t) => {
    const pool = poolOf(t, {}, true);
    const target: PixelTarget = { width: 4, height: 4, resize: 'stretch', kernel: 'cubic' };
    const images = await Promise.all(
      Array.from({ length: 20 }, () => pool.decode(small, target, { priority: 'single', signal: never })),
    );
    for (const { pixels, width, height, format } of images) {
      assert.deepEqual([width, height, format], [8, 8, 'png']);
      assert.deepEqual(
        [...pixels],
        Array.from({ length: 48 }, () => 0x80),
      );
    }
  });

  it('passes on what decoding says of a bad image, and goes on', async (t) => {
    const pool = poolOf(t, {}, true);
    const target: PixelTarget = { width: 4, height: 4, resize: 'stretch', kernel: 'cubic' };
    const request = { priority: 'single', signal: never } as const;
    await fails(pool.decode(small.subarray(0, 60), target, request), 'image_unreadable');
    await fails(pool.decode(Buffer.from('text'), target, request), 'unsupported_image_format');
    assert.equal((await pool.decode(small, target, request)).width, 8);
  });

  it('ends a process whose image takes too long; only that image fails', async (t) => {
    const pool = poolOf(t, { decodeTimeoutMs: 200 });
    const hanging = decode(pool, { fate: 'hang' });
    const [pid] = await busyPids(pool, 1);
    const others = Array.from({ length: 10 }, () => decode(pool));
    await fails(hanging, 'image_too_complex');
    const pids = (await Promise.all(others)).map(({ width }) => width);
    assert.ok(pid !== undefined && !pids.includes(pid));
    const after = await Promise.all([decode(pool), decode(pool)]);
    assert.ok(after.every(({ width }) => width !== pid));
  });

  it('ends a process whose image takes too much memory', async (t) => {
    const pool = poolOf(t, { decodeMemoryBytes: 256 * 1024 ** 2 });
    await fails(decode(pool, { fate: 'grow' }), 'image_too_complex');
    assert.ok((await decode(pool)).width > 0);
  });

  it('replaces a process that crashes; only its image fails', async (t) => {
    const pool = poolOf(t);
    const ends = await Promise.allSettled(
      Array.from({ length: 30 }, (_, index) => decode(pool, { fate: index % 10 === 5 ? 'crash' : 'decode' })),
    );
    assert.deepEqual(
      ends.map(({ status }, index) => [index, status]),
      ends.map((_, index) => [index, index % 10 === 5 ? 'rejected' : 'fulfilled']),
    );
    await fails(decode(pool, { fate: 'crash' }), 'image_unreadable');
  });

  it('ends a process whose WebAssembly aborted; only its image fails', async (t) => {
    const pool = poolOf(t, { decoders: 1 });
    const { width: pid } = await decode(pool);
    await fails(decode(pool, { fate: 'abort' }), 'image_unreadable');
    assert.notEqual((await decode(pool)).width, pid);
  });

  it('gives no further image to a process that was killed, though its end is not seen yet', async (t) => {
    const pool = poolOf(t);
    await decode(pool);
    const worker = pool.processes.find(({ isIdle }) => isIdle);
    assert.ok(worker);
    worker.kill();
    assert.ok(!worker.isIdle);
    await worker.ended;
    assert.ok((await decode(pool)).width > 0);
  });

  it('decodes an image in another process when its own is ended from outside', async (t) => {
    const pool = poolOf(t, { decoders: 1 });
    const { width: idle } = await decode(pool);
    process.kill(idle, 'SIGKILL');
    // The pool cannot have seen the end of the process yet.
    assert.notEqual((await decode(pool)).width, idle);
  });

  it('starts a process when an image needs it, and one that stands by', async (t) => {
    const pool = poolOf(t, { decoders: 3 });
    assert.equal(pool.processes.length, 1);
    const held = Array.from({ length: 3 }, () => decode(pool, { fate: 'hold' }));
    const pids = await busyPids(pool, 3);
    assert.equal(pool.processes.length, 4);
    pids.forEach(letGo);
    await Promise.all(held);
  });

  it('does not decode an image whose request was aborted while it waited', async (t) => {
    const pool = poolOf(t, { decoders: 1 });
    const held = decode(pool, { fate: 'hold' });
    const [pid] = await busyPids(pool, 1);
    const client = new AbortController();
    const waiting = decode(pool, { fate: 'crash', signal: client.signal });
    client.abort(new ClientDisconnected());
    await assert.rejects(waiting, ClientDisconnected);
    letGo(pid ?? 0);
    await held;
    assert.equal((await decode(pool)).height, 1); // no process has crashed on the image
    await fails(decode(pool, { signal: AbortSignal.abort(deadlineExceeded()) }), 'deadline_exceeded');
  });

  it('ends a process that works on for a request that was aborted', async (t) => {
    const pool = poolOf(t, { decoders: 1 });
    const client = new AbortController();
    const hanging = decode(pool, { fate: 'hang', signal: client.signal });
    const [pid] = await busyPids(pool, 1);
    client.abort(deadlineExceeded());
    await fails(hanging, 'deadline_exceeded');
    assert.notEqual((await decode(pool)).width, pid);
  });

  it('decodes single images before those of batch uploads', async (t) => {
    const pool = poolOf(t, { decoders: 1 });
    const held = decode(pool, { fate: 'hold' });
    const [pid] = await busyPids(pool, 1);
    const order: string[] = [];
    const waiting = (['batch', 'batch', 'single'] as const).map((priority) =>
      decode(pool, { priority }).then(() => order.push(priority)),
    );
    letGo(pid ?? 0);
    await Promise.all([held, ...waiting]);
    assert.deepEqual(order, ['single', 'batch', 'batch']);
  });

  it('keeps one process for small images while large ones are decoded', async (t) => {
    const pool = poolOf(t, { decoders: 2 });
    const first = decode(pool, { bytes: large, fate: 'hold' });
    const [pid] = await busyPids(pool, 1);
    const second = decode(pool, { bytes: large });
    for (let count = 0; count < 5; count += 1) assert.notEqual((await decode(pool)).width, pid);
    letGo(pid ?? 0);
    await Promise.all([first, second]);
  });

  it('shares a single process between small and large images by what they cost', async (t) => {
    const pool = poolOf(t, { decoders: 1 });
    const held = decode(pool, { fate: 'hold' });
    const [pid] = await busyPids(pool, 1);
    const order: string[] = [];
    const waiting = [
      ...Array.from({ length: 3 }, () => decode(pool, { bytes: large }).then(() => order.push('large'))),
      ...Array.from({ length: 9 }, () => decode(pool).then(() => order.push('small'))),
    ];
    letGo(pid ?? 0);
    await Promise.all([held, ...waiting]);
    assert.deepEqual(order.slice(-2), ['large', 'large'], order.join(' '));
    assert.ok(order.indexOf('large') < 10);
  });

  it('ends all its processes when it is closed', async (t) => {
    const pool = poolOf(t);
    await decode(pool);
    const pids = pool.processes.map(({ pid }) => pid ?? 0);
    const hanging = decode(pool, { fate: 'hang' });
    await busyPids(pool, 1);
    const waiting = Array.from({ length: 8 }, () => decode(pool, { fate: 'hang' }));
    const rejected = Promise.all([hanging, ...waiting].map((each) => assert.rejects(each)));
    await Promise.all([rejected, pool.close()]);
    await assert.rejects(decode(pool), { code: 'draining' });
    for (const pid of pids) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  });
});
