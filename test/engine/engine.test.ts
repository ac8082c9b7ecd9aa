import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ServiceError } from '../../src/problem.js';
import { caption, image, reserve, scoring, startTestEngine, told } from './test-engine.js';

function fails(promise: Promise<unknown>, code: string): Promise<void> {
  return assert.rejects(promise, (error) => error instanceof ServiceError && error.code === code);
}

function refuses(call: () => unknown, code: string): void {
  assert.throws(call, (error) => error instanceof ServiceError && error.code === code);
}

describe('the engine', () => {
  it('gives each of many images with unlike options its own answer', async (t) => {
    const { engine } = await startTestEngine(t, { workers: 2 });
    const numbers = Array.from({ length: 200 }, (_, number) => number);
    const answers = await Promise.all(
      numbers.map((number) => caption(engine, image(number, 'caption', { beamSize: 3 + (number % 5) }))),
    );
    assert.deepEqual(
      answers.map(({ number }) => number),
      numbers,
    );
    assert.equal(new Set(answers.map(({ pid }) => pid)).size, 2);
  });

  it('batches what waits, images of one beam size together, up to the largest batch', async (t) => {
    const { engine, metric } = await startTestEngine(t, { maxBatchSize: 3 });
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    await new Promise(setImmediate); // the worker is taken
    const narrow = [2, 3, 4, 5].map((number) => caption(engine, image(number, 'caption', { beamSize: 3 })));
    const wide = [6, 7].map((number) => caption(engine, image(number, 'caption', { beamSize: 5 })));
    assert.equal(await metric('queue_images'), 6);
    process.kill(pid, 'SIGUSR2');
    const sizes = (await Promise.all([held, ...narrow, ...wide])).map(({ batchSize }) => batchSize);
    assert.deepEqual(sizes, [1, 3, 3, 3, 1, 2, 2]);
  });

  it('gives images to score their own answers, in batches of their own', async (t) => {
    const { engine } = await startTestEngine(t);
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    await new Promise(setImmediate);
    const captions = [2, 3].map((number) => caption(engine, image(number)));
    const scores = [4, 5, 6].map((number) => reserve(engine).score(scoring(number, ['a', 'b'])));
    process.kill(pid, 'SIGUSR2');
    const sizes = (await Promise.all([held, ...captions])).map(({ number, batchSize }) => [
      number,
      batchSize,
    ]);
    assert.deepEqual(sizes, [
      [1, 1],
      [2, 2],
      [3, 2],
    ]);
    for (const [index, { outcome }] of (await Promise.all(scores)).entries()) {
      assert.equal(outcome.timing.encodeMs, 3);
      assert.deepEqual(
        outcome.scores.map(({ cosine }) => cosine),
        [(4 + index) / 100, (4 + index) / 100],
      );
    }
  });

  it('counts texts to embed among the places, and takes however many into an empty queue', async (t) => {
    const { engine } = await startTestEngine(t, { maxQueueImages: 3 });
    const texts = Array.from({ length: 64 }, () => 'a dog');
    const scored = reserve(engine).score(scoring(1, texts));
    refuses(() => reserve(engine), 'queue_full');
    assert.equal((await scored).outcome.scores.length, 64);
    reserve(engine, 3).release();
  });

  it('hands a busy worker its next batch once a whole one waits', async (t) => {
    const { engine, metric } = await startTestEngine(t, { maxBatchSize: 2 });
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    await new Promise(setImmediate);
    const next = reserve(engine, 3);
    const submitted = [2, 3, 4].map((number) => next.submit(image(number)));
    assert.equal(await metric('queue_images'), 3);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    assert.equal(await metric('queue_images'), 1);
    const waitedMs = 60;
    await assert.rejects(reserve(engine, 1, { timeoutMs: waitedMs }).submit(image(5))); // time passes
    process.kill(pid, 'SIGUSR2');
    await held;
    const sizes = (await Promise.all(submitted.map(told))).map(({ batchSize }) => batchSize);
    assert.deepEqual(sizes, [2, 2, 1]);
    // What an image waits at the worker is part of its wait.
    for (const answer of submitted) assert.ok((await answer).queueMs >= waitedMs / 2);
    assert.equal(await metric('places_used'), 0);
  });

  for (const [what, end] of [
    ['whose client has gone', 'abort'],
    ['whose deadline has passed', 'deadline'],
  ] as const) {
    it(`spares a worker the images ${what} before their batch began`, async (t) => {
      const { engine, metric } = await startTestEngine(t, { maxBatchSize: 4 });
      const { pid } = await caption(engine, image(0));
      const held = caption(engine, image(1, 'hold'));
      await new Promise(setImmediate);
      const client = new AbortController();
      const doomed = reserve(engine, 2, {
        signal: client.signal,
        ...(end === 'deadline' && { timeoutMs: 50 }),
      });
      const submitted = [2, 3].map((number) => doomed.submit(image(number, 'crash')));
      const mates = [4, 5].map((number) => caption(engine, image(number)));
      await new Promise(setImmediate);
      await new Promise(setImmediate);
      assert.equal(await metric('queue_images'), 0); // the worker has them
      if (end === 'abort') client.abort();
      const ends = await Promise.allSettled(submitted);
      assert.ok(ends.every(({ status }) => status === 'rejected'));
      assert.equal(await metric('places_used'), 3);
      process.kill(pid, 'SIGUSR2');
      assert.equal((await held).pid, pid);
      for (const [index, { number, batchSize }] of (await Promise.all(mates)).entries())
        assert.deepEqual([number, batchSize], [4 + index, 2]);
      assert.equal((await caption(engine, image(6))).pid, pid);
      assert.equal(await metric('places_used'), 0);
    });
  }

  it('gives an image that is alone to the worker for such, and others to the rest', async (t) => {
    const { engine } = await startTestEngine(t, { workers: 2, hasLoneWorker: true });
    const { pid } = await caption(engine, image(0));
    assert.equal((await caption(engine, image(1))).pid, pid);
    const together = await Promise.all([2, 3, 4, 5].map((number) => caption(engine, image(number))));
    assert.deepEqual(
      together.map(({ batchSize }) => batchSize),
      [2, 2, 2, 2],
    );
    assert.ok(together.every((each) => each.pid !== pid));
    assert.equal((await caption(engine, image(6))).pid, pid);
  });

  it('lets the worker for lone images do all while there is no other', async (t) => {
    const { engine, setStart } = await startTestEngine(t, { workers: 1, hasLoneWorker: true });
    const lone = await caption(engine, image(0));
    const [other] = await Promise.all([1, 2].map((number) => caption(engine, image(number))));
    setStart('never');
    process.kill(other?.pid ?? 0, 'SIGKILL');
    const answers = await Promise.all([3, 4, 5].map((number) => caption(engine, image(number))));
    assert.deepEqual(
      answers.map(({ number }) => number),
      [3, 4, 5],
    );
    assert.ok(answers.every(({ pid }) => pid === lone.pid));
    setStart('warm');
  });

  it('serves single images before batch uploads', async (t) => {
    const { engine } = await startTestEngine(t, { maxBatchSize: 1 });
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    await new Promise(setImmediate);
    const order: string[] = [];
    const upload = reserve(engine, 2, { priority: 'batch' });
    const waiting = [
      upload.submit(image(2)).then(() => order.push('upload')),
      upload.submit(image(3)).then(() => order.push('upload')),
      // Not `caption`: two answers may arrive at once, and its longer chain of promises would then end last.
      reserve(engine)
        .submit(image(4))
        .then(() => order.push('single')),
    ];
    process.kill(pid, 'SIGUSR2');
    await Promise.all([held, ...waiting]);
    assert.deepEqual(order, ['single', 'upload', 'upload']);
  });

  it('lets a batch grow when it may wait', async (t) => {
    const { engine } = await startTestEngine(t, { batchDelayMs: 60_000, maxBatchSize: 2 });
    const first = caption(engine, image(1));
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    const [one, two] = await Promise.all([first, caption(engine, image(2))]);
    assert.deepEqual([one.batchSize, two.batchSize], [2, 2]);
  });

  it('runs a batch that does not grow when its delay is over', async (t) => {
    const { engine } = await startTestEngine(t, { batchDelayMs: 30, maxBatchSize: 2 });
    assert.equal((await caption(engine, image(1))).batchSize, 1);
  });

  it('refuses what has no place, says when to try again, and takes it once there is one', async (t) => {
    const { engine, metric } = await startTestEngine(t, { maxQueueImages: 4 });
    const reservation = reserve(engine, 3);
    refuses(() => reserve(engine, 2), 'queue_full');
    assert.throws(
      () => reserve(engine, 2),
      (error) => error instanceof ServiceError && (error.retryAfterSeconds ?? 0) >= 1,
    );
    assert.equal(await metric('lost_images_total', { reason: 'queue_full' }), 4);
    reservation.release();
    reservation.release();
    assert.equal(await metric('places_used'), 0);
    reserve(engine, 4).release();
  });

  it('tells when to try again by what its last batches took', async (t) => {
    const places = 1_000_000;
    const { engine } = await startTestEngine(t, { maxQueueImages: places, maxBatchSize: 1 });
    function retryAfterSeconds(used: number): number {
      const reservation = reserve(engine, used);
      try {
        reserve(engine, places).release();
      } catch (error) {
        if (error instanceof ServiceError) return error.retryAfterSeconds ?? NaN;
      } finally {
        reservation.release();
      }
      return NaN;
    }
    const { pid } = await caption(engine, image(0));
    // So many that a fifth more is seconds, however fast the machine is, and less than the minute that is told at most.
    let used = 1;
    while (retryAfterSeconds(used) < 15) used *= 2;
    const before = retryAfterSeconds(used);
    const held = caption(engine, image(1, 'hold'));
    await assert.rejects(reserve(engine, 1, { timeoutMs: 100 }).submit(image(2))); // time passes
    process.kill(pid, 'SIGUSR2');
    await held;
    assert.ok(retryAfterSeconds(used) > before);
  });

  it('frees a place when its image is answered', async (t) => {
    const { engine, metric } = await startTestEngine(t, { maxQueueImages: 1 });
    await caption(engine, image(1));
    await caption(engine, image(2));
    assert.equal(await metric('places_used'), 0);
  });

  it('counts the concepts that a client brings, until it knows them', async (t) => {
    const { engine, metric } = await startTestEngine(t, { maxQueueImages: 4 });
    const concepts = Array.from({ length: 40 }, (_, index) => `word ${index}`); // 2 prompts each: 3 places more
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    await fails(caption(engine, image(2, 'caption', { concepts })), 'queue_full');
    process.kill(pid, 'SIGUSR2');
    await held;
    const alone = caption(engine, image(3, 'caption', { concepts: concepts.map((word) => `${word}s`) }));
    assert.equal(await metric('places_used'), 4);
    assert.equal((await alone).number, 3);
  });

  it('answers 504 at the deadline, of what waits and of what runs', async (t) => {
    const { engine, metric } = await startTestEngine(t, { maxBatchSize: 1 });
    const { pid } = await caption(engine, image(0));
    const running = reserve(engine, 1, { timeoutMs: 50 }).submit(image(1, 'hold'));
    const waiting = reserve(engine, 1, { timeoutMs: 50 }).submit(image(2));
    await Promise.all([fails(running, 'deadline_exceeded'), fails(waiting, 'deadline_exceeded')]);
    // The one that runs keeps its place until the worker is done with it.
    assert.equal(await metric('places_used'), 1);
    assert.equal(await metric('lost_images_total', { reason: 'deadline' }), 2);
    process.kill(pid, 'SIGUSR2');
    assert.equal((await caption(engine, image(3))).number, 3);
    assert.equal(await metric('places_used'), 0);
  });

  it('answers 504 at once when the deadline passed before the image was handed in', async (t) => {
    const { engine, metric } = await startTestEngine(t);
    await fails(reserve(engine, 1, { timeoutMs: -1 }).submit(image(1)), 'deadline_exceeded');
    assert.equal(await metric('places_used'), 0);
  });

  it('drops the images of a client that has gone and frees its places', async (t) => {
    const { engine, metric } = await startTestEngine(t, { maxBatchSize: 1 });
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    await new Promise(setImmediate);
    const client = new AbortController();
    const reservation = reserve(engine, 20, { signal: client.signal });
    const submitted = Array.from({ length: 12 }, (_, number) => reservation.submit(image(number, 'crash')));
    assert.equal(await metric('places_used'), 21);
    client.abort();
    const ends = await Promise.allSettled(submitted);
    assert.ok(ends.every(({ status }) => status === 'rejected'));
    assert.equal(await metric('places_used'), 1);
    assert.equal(await metric('lost_images_total', { reason: 'gone' }), 12);
    await assert.rejects(reservation.submit(image(2)));
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).number, 1); // none of the crashing images was run
    assert.equal((await caption(engine, image(3))).pid, pid);
  });

  it('fails an image alone when the model fails on it', async (t) => {
    const { engine } = await startTestEngine(t);
    const good = [1, 2, 3].map((number) => caption(engine, image(number)));
    await fails(caption(engine, image(4, 'fail')), 'internal');
    assert.deepEqual(
      (await Promise.all(good)).map(({ number }) => number),
      [1, 2, 3],
    );
  });

  it('takes no more images than places were reserved', async (t) => {
    const { engine } = await startTestEngine(t);
    const reservation = reserve(engine, 1);
    assert.equal((await told(reservation.submit(image(1)))).number, 1);
    await assert.rejects(reservation.submit(image(2)), /more images/);
  });

  it('measures what it does', async (t) => {
    const { engine, metric } = await startTestEngine(t);
    await Promise.all([1, 2, 3].map((number) => caption(engine, image(number))));
    assert.equal(await metric('queue_wait_seconds', { le: '+Inf' }), 3);
    assert.equal(await metric('batch_images', { le: '+Inf' }), 1);
    for (const stage of ['encode', 'mixup', 'caption', 'score'])
      assert.equal(await metric('stage_seconds', { stage, le: '+Inf' }), 3, stage);
    assert.equal(await metric('confidence', { le: '0.5' }), 3);
    assert.equal(await metric('workers_ready'), 1);
  });
});

describe('draining', () => {
  it('finishes what was admitted, decoded or not, and admits nothing more', async (t) => {
    const { engine, metric } = await startTestEngine(t);
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    const decoding = reserve(engine, 2);
    const drained = engine.drain();
    assert.deepEqual(engine.readiness, { ready: false, reason: 'draining' });
    refuses(() => reserve(engine), 'draining');
    const late = decoding.submit(image(2));
    decoding.release();
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).number, 1);
    assert.equal((await told(late)).number, 2);
    await drained;
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    assert.equal(await metric('places_used'), 0);
    await engine.drain();
  });

  it('ends when its grace is over, whatever still runs', async (t) => {
    const { engine, metric } = await startTestEngine(t, { shutdownGraceMs: 50 });
    const { pid } = await caption(engine, image(0));
    const undecoded = reserve(engine, 1);
    const hanging = caption(engine, image(1, 'hang'));
    await Promise.all([fails(hanging, 'draining'), engine.drain()]);
    assert.equal(await metric('lost_images_total', { reason: 'draining' }), 1);
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    await fails(undecoded.submit(image(2)), 'draining');
  });
});
