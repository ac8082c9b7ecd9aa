import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ServiceError } from '../../src/errors.js';
import { admit, caption, image, startTestEngine, type TestEngine, told, type Told } from './test-engine.js';

const many = Array.from({ length: 200 }, (_, number) => number);

/** Captions 200 images, does something to the worker of the first answer, and expects every image's own answer. */
async function strikeUnderLoad({ scheduler }: TestEngine, strike: (pid: number) => void): Promise<Told[]> {
  const submitted = many.map((number) => caption(scheduler, image(number)));
  const { pid } = await Promise.race(submitted);
  strike(pid);
  const answers = await Promise.all(submitted);
  assert.deepEqual(
    answers.map(({ number }) => number),
    many,
  );
  return answers;
}

describe('a worker', () => {
  it('that is killed under 200 requests costs none of them', async (t) => {
    const engine = await startTestEngine(t);
    const answers = await strikeUnderLoad(engine, (pid) => process.kill(pid, 'SIGKILL'));
    assert.equal(new Set(answers.map(({ pid }) => pid)).size, 2);
    assert.equal(await engine.metric('worker_restarts_total', { reason: 'crash' }), 1);
  });

  it('that is stopped under 200 requests is taken for hanging and costs none of them', async (t) => {
    const engine = await startTestEngine(t, { hangTimeoutMs: 500, workers: 2 });
    await strikeUnderLoad(engine, (pid) => process.kill(pid, 'SIGSTOP'));
    assert.equal(await engine.metric('worker_restarts_total', { reason: 'hang' }), 1);
  });

  it('that is busy for long but alive is left alone', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { hangTimeoutMs: 400 });
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    const heartbeats = admit(scheduler, 1, { timeoutMs: 1200 }).run(image(2)); // three times as long as a hang
    await assert.rejects(heartbeats);
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).pid, pid);
    assert.equal(await metric('worker_restarts_total'), 0);
  });

  for (const [fate, reason] of [
    ['crash', 'crash'],
    ['hang', 'hang'],
  ] as const) {
    it(`meets an image that makes it ${fate}, and only that image fails`, async (t) => {
      const { scheduler, metric } = await startTestEngine(t, { hangTimeoutMs: 500, maxBatchSize: 8 });
      const upload = admit(scheduler, 21);
      const submitted = Array.from({ length: 21 }, (_, number) =>
        told(upload.run(image(number, number === 10 ? fate : 'caption'))),
      );
      const ends = await Promise.allSettled(submitted);
      for (const [number, end] of ends.entries()) {
        if (number === 10) {
          assert.ok(end.status === 'rejected' && end.reason instanceof ServiceError);
          assert.equal(end.reason.code, 'image_crashes_model');
        } else assert.equal(end.status === 'fulfilled' && end.value.number, number);
      }
      assert.equal(await metric('worker_restarts_total', { reason }), 3);
      assert.equal(await metric('dropped_images_total', { reason: 'crash' }), 1);
      assert.equal(await metric('slots_used'), 0);
      assert.deepEqual(scheduler.readiness, { ready: true });
    });
  }

  it('that crashes has not crashed on the batch that it had not begun', async (t) => {
    const { scheduler, metric } = await startTestEngine(t, { maxBatchSize: 1 });
    const upload = admit(scheduler, 3);
    const ends = await Promise.allSettled([
      told(upload.run(image(0, 'crash'))),
      told(upload.run(image(1))), // handed over each of the three times
      told(upload.run(image(2))),
    ]);
    assert.deepEqual(
      ends.map((end) => (end.status === 'fulfilled' ? end.value.number : 'failed')),
      ['failed', 1, 2],
    );
    assert.equal(await metric('worker_restarts_total'), 3);
  });

  it('that crashes in a loop makes the service not ready, with the reason, until it stays up', async (t) => {
    const { scheduler, setStart, logged, metric } = await startTestEngine(t);
    const { pid } = await caption(scheduler, image(0));
    setStart('crash');
    const killedAt = performance.now();
    const fourth = (async () => {
      for (let crash = 0; crash < 4; crash++) await logged('ended');
    })();
    process.kill(pid, 'SIGKILL');
    const waiting = caption(scheduler, image(1)); // one crash is no reason to refuse
    await fourth;
    // The first replacement comes at once; then there is a pause, and the next one is twice as long.
    const elapsedMs = performance.now() - killedAt;
    assert.ok(elapsedMs >= 700, `${elapsedMs} ms`);
    assert.ok(!scheduler.readiness.ready && scheduler.readiness.reason.includes('exit code 3'));
    assert.throws(
      () => admit(scheduler),
      (error) => error instanceof ServiceError && error.code === 'not_ready',
    );
    assert.equal(await metric('dropped_images_total', { reason: 'not_ready' }), 1);
    setStart('warm');
    assert.equal((await waiting).number, 1);
    assert.deepEqual(scheduler.readiness, { ready: true });
  });

  it('that refuses its bundle stops the start and says why', async (t) => {
    await assert.rejects(startTestEngine(t, { start: 'refuse' }), /the bundle is of cheese/);
  });

  it('that does not survive its start stops the start', async (t) => {
    await assert.rejects(startTestEngine(t, { start: 'crash' }), /ended with exit code 3/);
  });

  it('that never gets warm stops the start', async (t) => {
    await assert.rejects(
      startTestEngine(t, { start: 'never', startTimeoutMs: 100 }),
      /was not warm within 100 ms/,
    );
  });
});
