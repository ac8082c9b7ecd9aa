import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ServiceError } from '../../src/errors.js';
import { admit, caption, fails, image, refuses, scoring, startTestEngine, told } from './test-engine.js';
import { ClientDisconnected } from '../../src/promises.js';

describe('the engine', () => {
  it('gives each of many images with unlike options its own answer', async (t) => {
    const { scheduler } = await startTestEngine(t, { workers: 2 });
    const numbers = Array.from({ length: 200 }, (_, number) => number);
    const answers = await Promise.all(
      numbers.map((number) => caption(scheduler, image(number, 'caption', { beamSize: 3 + (number % 5) }))),
    );
    assert.deepEqual(
      answers.map(({ number }) => number),
      numbers,
    );
    assert.equal(new Set(answers.map(({ pid }) => pid)).size, 2);
  });

  it('batches what waits, images of one beam size together, up to the largest batch', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { maxBatchSize: 3 });
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    await new Promise(setImmediate); // the worker is taken
    const narrow = [2, 3, 4, 5].map((number) =>
      caption(scheduler, image(number, 'caption', { beamSize: 3 })),
    );
    const wide = [6, 7].map((number) => caption(scheduler, image(number, 'caption', { beamSize: 5 })));
    assert.equal(await metric('queue_images'), 6);
    process.kill(pid, 'SIGUSR2');
    const sizes = (await Promise.all([held, ...narrow, ...wide])).map(({ batchSize }) => batchSize);
    assert.deepEqual(sizes, [1, 3, 3, 3, 1, 2, 2]);
  });

  it('gives images to score their own answers, in batches of their own', async (t) => {
    const { scheduler } = await startTestEngine(t);
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    await new Promise(setImmediate);
    const captions = [2, 3].map((number) => caption(scheduler, image(number)));
    const scores = [4, 5, 6].map((number) => admit(scheduler).run(scoring(number, ['a', 'b'])));
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

  it('counts texts to embed among the slots, and takes however many into an empty queue', async (t) => {
    const { scheduler } = await startTestEngine(t, { maxQueueImages: 3 });
    const texts = Array.from({ length: 64 }, () => 'a dog');
    const scored = admit(scheduler).run(scoring(1, texts));
    refuses(() => admit(scheduler), 'queue_full');
    assert.equal((await scored).outcome.scores.length, 64);
    scheduler.admit(3).release();
  });

  it('hands a busy worker its next batch once a whole one waits', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { maxBatchSize: 2 });
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    await new Promise(setImmediate);
    const next = admit(scheduler, 3);
    const submitted = [2, 3, 4].map((number) => next.run(image(number)));
    assert.equal(await metric('queue_images'), 3);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    assert.equal(await metric('queue_images'), 1);
    const waitedMs = 60;
    await assert.rejects(admit(scheduler, 1, { timeoutMs: waitedMs }).run(image(5))); // time passes
    process.kill(pid, 'SIGUSR2');
    await held;
    const sizes = (await Promise.all(submitted.map(told))).map(({ batchSize }) => batchSize);
    assert.deepEqual(sizes, [2, 2, 1]);
    // What an image waits at the worker is part of its wait.
    for (const answer of submitted) assert.ok((await answer).queueMs >= waitedMs / 2);
    assert.equal(await metric('slots_used'), 0);
  });

  for (const [what, end] of [
    ['whose client has gone', 'abort'],
    ['whose deadline has passed', 'deadline'],
  ] as const) {
    it(`spares a worker the images ${what} before their batch began`, async (t) => {
      const { scheduler, metric } = await startTestEngine(t, { maxBatchSize: 4 });
      const { pid } = await caption(scheduler, image(0));
      const held = caption(scheduler, image(1, 'hold'));
      await new Promise(setImmediate);
      const client = new AbortController();
      const doomed = admit(scheduler, 2, {
        signal: client.signal,
        ...(end === 'deadline' && { timeoutMs: 50 }),
      });
      const submitted = [2, 3].map((number) => doomed.run(image(number, 'crash')));
      const mates = [4, 5].map((number) => caption(scheduler, image(number)));
      await new Promise(setImmediate);
      await new Promise(setImmediate);
      assert.equal(await metric('queue_images'), 0); // the worker has them
      if (end === 'abort') client.abort();
      const ends = await Promise.allSettled(submitted);
      assert.ok(ends.every(({ status }) => status === 'rejected'));
      assert.equal(await metric('slots_used'), 3);
      process.kill(pid, 'SIGUSR2');
      assert.equal((await held).pid, pid);
      for (const [index, { number, batchSize }] of (await Promise.all(mates)).entries())
        assert.deepEqual([number, batchSize], [4 + index, 2]);
      assert.equal((await caption(scheduler, image(6))).pid, pid);
      assert.equal(await metric('slots_used'), 0);
    });
  }

  it('gives an image that is alone to the worker for such, and others to the rest', async (t) => {
    const { scheduler } = await startTestEngine(t, { workers: 2, hasLowLatencyWorker: true });
    const { pid } = await caption(scheduler, image(0));
    assert.equal((await caption(scheduler, image(1))).pid, pid);
    const together = await Promise.all([2, 3, 4, 5].map((number) => caption(scheduler, image(number))));
    assert.deepEqual(
      together.map(({ batchSize }) => batchSize),
      [2, 2, 2, 2],
    );
    assert.ok(together.every((each) => each.pid !== pid));
    assert.equal((await caption(scheduler, image(6))).pid, pid);
  });

  it('lets the worker for lone images do all while there is no other', async (t) => {
    const { scheduler, setStart } = await startTestEngine(t, { workers: 1, hasLowLatencyWorker: true });
    const lone = await caption(scheduler, image(0));
    const [other] = await Promise.all([1, 2].map((number) => caption(scheduler, image(number))));
    setStart('never');
    process.kill(other?.pid ?? 0, 'SIGKILL');
    const answers = await Promise.all([3, 4, 5].map((number) => caption(scheduler, image(number))));
    assert.deepEqual(
      answers.map(({ number }) => number),
      [3, 4, 5],
    );
    assert.ok(answers.every(({ pid }) => pid === lone.pid));
    setStart('warm');
  });

  it('serves single images before batch uploads', async (t) => {
    const { scheduler } = await startTestEngine(t, { maxBatchSize: 1 });
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    await new Promise(setImmediate);
    const order: string[] = [];
    const upload = admit(scheduler, 2, { priority: 'batch' });
    const waiting = [
      upload.run(image(2)).then(() => order.push('upload')),
      upload.run(image(3)).then(() => order.push('upload')),
      // Not `caption`: two answers may arrive at once, and its longer chain of promises would then end last.
      admit(scheduler)
        .run(image(4))
        .then(() => order.push('single')),
    ];
    process.kill(pid, 'SIGUSR2');
    await Promise.all([held, ...waiting]);
    assert.deepEqual(order, ['single', 'upload', 'upload']);
  });

  it('lets a batch grow when it may wait', async (t) => {
    const { scheduler } = await startTestEngine(t, { batchDelayMs: 60_000, maxBatchSize: 2 });
    const first = caption(scheduler, image(1));
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    const [one, two] = await Promise.all([first, caption(scheduler, image(2))]);
    assert.deepEqual([one.batchSize, two.batchSize], [2, 2]);
  });

  it('runs a batch that does not grow when its delay is over', async (t) => {
    const { scheduler } = await startTestEngine(t, { batchDelayMs: 30, maxBatchSize: 2 });
    assert.equal((await caption(scheduler, image(1))).batchSize, 1);
  });

  it('refuses what has no slot, says when to try again, and takes it once there is one', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { maxQueueImages: 4 });
    const permit = scheduler.admit(3);
    refuses(() => scheduler.admit(2), 'queue_full');
    assert.throws(
      () => scheduler.admit(2),
      (error) => error instanceof ServiceError && (error.retryAfterSeconds ?? 0) >= 1,
    );
    assert.equal(await metric('dropped_images_total', { reason: 'queue_full' }), 4);
    permit.release();
    permit.release();
    assert.equal(await metric('slots_used'), 0);
    scheduler.admit(4).release();
  });

  it('tells when to try again by what its last batches took', async (t) => {
    const slots = 1_000_000;
    const { scheduler } = await startTestEngine(t, { maxQueueImages: slots, maxBatchSize: 1 });
    function retryAfterSeconds(used: number): number {
      const permit = scheduler.admit(used);
      try {
        scheduler.admit(slots).release();
      } catch (error) {
        if (error instanceof ServiceError) return error.retryAfterSeconds ?? NaN;
      } finally {
        permit.release();
      }
      return NaN;
    }
    const { pid } = await caption(scheduler, image(0));
    // So many that a fifth more is seconds, however fast the machine is, and less than the minute that is told at most.
    let used = 1;
    while (retryAfterSeconds(used) < 15) used *= 2;
    const before = retryAfterSeconds(used);
    const held = caption(scheduler, image(1, 'hold'));
    await assert.rejects(admit(scheduler, 1, { timeoutMs: 100 }).run(image(2))); // time passes
    process.kill(pid, 'SIGUSR2');
    await held;
    assert.ok(retryAfterSeconds(used) > before);
  });

  it('frees the slot of an image when it is answered', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { maxQueueImages: 1 });
    await caption(scheduler, image(1));
    await caption(scheduler, image(2));
    assert.equal(await metric('slots_used'), 0);
  });

  it('counts the concepts that a client brings, until it knows them', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { maxQueueImages: 4 });
    const concepts = Array.from({ length: 40 }, (_, index) => `word ${index}`); // 2 prompts each: 3 slots more
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    await fails(caption(scheduler, image(2, 'caption', { concepts })), 'queue_full');
    process.kill(pid, 'SIGUSR2');
    await held;
    const alone = caption(scheduler, image(3, 'caption', { concepts: concepts.map((word) => `${word}s`) }));
    assert.equal(await metric('slots_used'), 4);
    assert.equal((await alone).number, 3);
  });

  it('answers 504 at the deadline, of what waits and of what runs', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { maxBatchSize: 1 });
    const { pid } = await caption(scheduler, image(0));
    const running = admit(scheduler, 1, { timeoutMs: 50 }).run(image(1, 'hold'));
    const waiting = admit(scheduler, 1, { timeoutMs: 50 }).run(image(2));
    await Promise.all([fails(running, 'deadline_exceeded'), fails(waiting, 'deadline_exceeded')]);
    // The one that runs holds a slot until the worker is done with it.
    assert.equal(await metric('slots_used'), 1);
    assert.equal(await metric('dropped_images_total', { reason: 'deadline' }), 2);
    process.kill(pid, 'SIGUSR2');
    assert.equal((await caption(scheduler, image(3))).number, 3);
    assert.equal(await metric('slots_used'), 0);
  });

  it('answers 504 at once when the deadline passed before the image was handed in', async (t) => {
    const { scheduler, metric } = await startTestEngine(t);
    await fails(admit(scheduler, 1, { timeoutMs: -1 }).run(image(1)), 'deadline_exceeded');
    assert.equal(await metric('slots_used'), 0);
  });

  it('drops the images of a client that has gone and frees their slots', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { maxBatchSize: 1 });
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    await new Promise(setImmediate);
    const client = new AbortController();
    const upload = admit(scheduler, 20, { signal: client.signal });
    const submitted = Array.from({ length: 12 }, (_, number) => upload.run(image(number, 'crash')));
    assert.equal(await metric('slots_used'), 21);
    client.abort();
    const ends = await Promise.allSettled(submitted);
    assert.ok(ends.every(({ status }) => status === 'rejected'));
    assert.equal(await metric('slots_used'), 1);
    assert.equal(await metric('dropped_images_total', { reason: 'gone' }), 12);
    await assert.rejects(upload.run(image(2)));
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).number, 1); // none of the crashing images was run
    assert.equal((await caption(scheduler, image(3))).pid, pid);
  });

  it('fails an image alone when the model fails on it', async (t) => {
    const { scheduler } = await startTestEngine(t);
    const good = [1, 2, 3].map((number) => caption(scheduler, image(number)));
    await fails(caption(scheduler, image(4, 'fail')), 'internal');
    assert.deepEqual(
      (await Promise.all(good)).map(({ number }) => number),
      [1, 2, 3],
    );
  });

  it('counts an image that was abandoned while it ran, until its run has ended', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { maxQueueImages: 4 });
    const { pid } = await caption(scheduler, image(0));
    const texts = Array.from({ length: 64 }, () => 'a dog');
    const client = new AbortController();
    const running = admit(scheduler, 1, { signal: client.signal }).run(scoring(1, texts, 'hold'));
    while ((await metric('batch_images', { le: '+Inf' })) < 2) await new Promise(setImmediate); // it runs
    assert.equal(await metric('slots_used'), 3);
    client.abort();
    await assert.rejects(running, ClientDisconnected);
    assert.equal(await metric('slots_used'), 3); // those of its texts too: the worker is not done with them
    const beside = admit(scheduler).run(image(2));
    refuses(() => scheduler.admit(1), 'queue_full');
    process.kill(pid, 'SIGUSR2');
    await beside;
    assert.equal(await metric('slots_used'), 0);
  });

  it('runs an image no second time when nobody waits for it and its worker crashed on it', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { hangTimeoutMs: 300 });
    await caption(scheduler, image(0));
    const client = new AbortController();
    const hanging = admit(scheduler, 2, { signal: client.signal });
    const abandoned = [1, 2].map((number) => hanging.run(image(number, 'hang')));
    while ((await metric('batch_images', { le: '+Inf' })) < 2) await new Promise(setImmediate); // they run
    client.abort();
    for (const each of abandoned) await assert.rejects(each, ClientDisconnected);
    assert.equal(await metric('slots_used'), 2);
    assert.equal((await caption(scheduler, image(3))).number, 3);
    assert.equal(await metric('worker_restarts_total'), 1);
    assert.equal(await metric('slots_used'), 0);
    assert.equal(await metric('dropped_images_total', { reason: 'gone' }), 2);
    assert.equal(await metric('dropped_images_total', { reason: 'crash' }), 0);
  });

  it('measures what it does', async (t) => {
    const { scheduler, metric } = await startTestEngine(t);
    await Promise.all([1, 2, 3].map((number) => caption(scheduler, image(number))));
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
    const { scheduler, metric } = await startTestEngine(t);
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    const decoding = admit(scheduler, 2);
    const drained = scheduler.drain();
    assert.deepEqual(scheduler.readiness, { ready: false, reason: 'draining' });
    refuses(() => admit(scheduler), 'draining');
    const late = decoding.run(image(2));
    decoding.release();
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).number, 1);
    assert.equal((await told(late)).number, 2);
    await drained;
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    assert.equal(await metric('slots_used'), 0);
    await scheduler.drain();
  });

  it('ends when its grace is over, whatever still runs', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { shutdownGraceMs: 50 });
    const { pid } = await caption(scheduler, image(0));
    const undecoded = admit(scheduler, 1);
    const hanging = caption(scheduler, image(1, 'hang'));
    await Promise.all([fails(hanging, 'draining'), scheduler.drain()]);
    assert.equal(await metric('dropped_images_total', { reason: 'draining' }), 1);
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    await fails(undecoded.run(image(2)), 'draining');
    assert.equal(await metric('slots_used'), 0);
  });

  it('when its grace is over fails what waits and what runs, and holds nothing for it', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { shutdownGraceMs: 50, batchDelayMs: 60_000 });
    const texts = Array.from({ length: 40 }, () => 'a dog');
    const waiting = [1, 2].map((number) => admit(scheduler).run(scoring(number, texts)));
    assert.equal(await metric('slots_used'), 6);
    await Promise.all([...waiting.map((each) => fails(each, 'draining')), scheduler.drain()]);
    assert.equal(await metric('dropped_images_total', { reason: 'draining' }), 2);
    assert.equal(await metric('queue_images'), 0);
    assert.equal(await metric('slots_used'), 0);
  });

  it('lets a request that was admitted count its images, and finishes all of them', async (t) => {
    const { scheduler, metric } = await startTestEngine(t);
    const permit = scheduler.admit(1); // its body is being read
    const drained = scheduler.drain();
    const permits = permit.split(3);
    const { signal } = new AbortController();
    const answers = permits.map(async ({ model }, number) =>
      told(model.run(image(number), { priority: 'batch', signal })),
    );
    assert.deepEqual(
      (await Promise.all(answers)).map(({ number }) => number),
      [0, 1, 2],
    );
    for (const each of permits) each.release();
    await drained;
    assert.equal(await metric('slots_used'), 0);
  });
});

describe('whatever clients and workers do', () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('ask' as const),
        images: fc.integer({ min: 1, max: 5 }),
        priority: fc.constantFrom('single' as const, 'batch' as const),
        fate: fc.constantFrom('caption' as const, 'caption' as const, 'fail' as const),
        concepts: fc.integer({ min: 0, max: 40 }),
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('leave' as const), which: fc.nat(20) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('pass' as const), turns: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const) }) },
  );

  it('answers or fails every image, and holds no slot in the end', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, {
      workers: 2,
      maxBatchSize: 4,
      maxQueueImages: 20,
    });
    let named = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const { pid } = await caption(scheduler, image(0));
        const isKilled = { once: false };
        const clients: AbortController[] = [];
        const ends: Promise<unknown>[] = [];
        for (const each of steps) {
          if (each.do === 'leave') clients[each.which]?.abort();
          else if (each.do === 'pass') {
            for (let turn = 0; turn < each.turns; turn++) await new Promise(setImmediate);
          } else if (each.do === 'kill') {
            if (!isKilled.once) process.kill(pid, 'SIGKILL');
            isKilled.once = true;
          } else {
            const client = new AbortController();
            const { images, priority, fate } = each;
            try {
              const upload = admit(scheduler, images, { priority, signal: client.signal });
              clients.push(client);
              const concepts = Array.from({ length: each.concepts }, () => `word ${named++}`);
              for (let index = 0; index < images; index++)
                ends.push(upload.run(image(index, fate, index === 0 ? { concepts } : {})));
            } catch (error) {
              assert.ok(error instanceof ServiceError && error.code === 'queue_full');
            }
          }
          for (const end of ends) end.catch(() => undefined);
          assert.ok((await metric('slots_used')) >= 0);
        }
        for (const end of await Promise.allSettled(ends)) {
          if (end.status === 'fulfilled') continue;
          const error: unknown = end.reason;
          const isExpected = error instanceof ServiceError && ['internal', 'queue_full'].includes(error.code);
          assert.ok(isExpected || error instanceof ClientDisconnected, String(error));
        }
        // Runs that nobody waits for end, too.
        while ((await metric('slots_used')) > 0) await new Promise(setImmediate);
        assert.equal(await metric('slots_used'), 0);
        assert.equal(await metric('queue_images'), 0);
        assert.deepEqual(scheduler.readiness, { ready: true });
      }),
      { numRuns: 20, endOnFailure: true },
    );
    assert.equal(await metric('dropped_images_total', { reason: 'crash' }), 0);
  });
});
