import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ServiceError } from '../../src/errors.js';
import { admit, caption, image, startTestEngine, told } from './test-engine.js';

describe('loading the bundle again', () => {
  it('under load loses no image: what was admitted before is answered by the old processes', async (t) => {
    const { scheduler, setBundle, metric } = await startTestEngine(t, { maxBatchSize: 2 });
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    const early = Array.from({ length: 100 }, (_, number) => caption(scheduler, image(number)));
    const decoding = admit(scheduler); // admitted, its pixels not made yet
    assert.equal(decoding.model.bundle.id, 'example');

    setBundle('second');
    const reloaded = scheduler.reload();
    while (scheduler.model.bundle.id === 'example') {
      assert.deepEqual(scheduler.readiness, { ready: true });
      await new Promise(setImmediate);
    }
    const late = Array.from({ length: 100 }, (_, number) => caption(scheduler, image(number)));
    const newPids = new Set((await Promise.all(late)).map((answer) => answer.pid));
    assert.equal(newPids.size, 1);
    assert.ok(!newPids.has(pid));

    process.kill(pid, 'SIGUSR2');
    const old = [await held, ...(await Promise.all(early)), await told(decoding.run(image(7)))];
    assert.deepEqual(new Set(old.map((answer) => answer.pid)), new Set([pid]));
    assert.deepEqual(
      old.map(({ number }) => number),
      [1, ...Array.from({ length: 100 }, (_, number) => number), 7],
    );
    assert.equal(await metric('model_info', { id: 'second' }), 1);
    assert.equal(await metric('model_reloads_total', { outcome: 'swapped' }), 1);
    await reloaded;
    assert.equal(await metric('slots_used'), 0);
  });

  it('lets the old processes leave when the last of their images is answered', async (t) => {
    const { scheduler, setBundle, metric } = await startTestEngine(t, { workers: 2 });
    const { pid } = await caption(scheduler, image(0));
    const since = scheduler.model.servingSince;
    setBundle('second');
    await scheduler.reload();
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    assert.equal(await metric('workers_ready'), 2);
    assert.ok(scheduler.model.servingSince >= since);
    assert.equal((await caption(scheduler, image(1))).number, 1);
  });

  it('starts beside the old processes only as many as there is memory for, and the others after them', async (t) => {
    const { scheduler, setBundle, metric, logged } = await startTestEngine(t, {
      workers: 3,
      workersInMemory: 5,
    });
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    setBundle('second');
    const reloaded = scheduler.reload();
    while (scheduler.model.bundle.id === 'example') await new Promise(setImmediate);
    assert.equal(await metric('workers_ready'), 5);
    assert.equal((await caption(scheduler, image(2))).number, 2);
    const third = logged('is warm');
    process.kill(pid, 'SIGUSR2');
    await Promise.all([held, reloaded, third]);
    assert.equal(await metric('workers_ready'), 3);
  });

  it('gives up the processes that wait for memory when those before them do not start', async (t) => {
    const { scheduler, setBundle, setStart } = await startTestEngine(t, { workers: 2, workersInMemory: 3 });
    setBundle('second');
    setStart('refuse');
    await scheduler.reload();
    assert.equal(scheduler.model.bundle.id, 'example');
  });

  it('replaces an old process that dies while the old bundle still has images', async (t) => {
    const { scheduler, setBundle } = await startTestEngine(t);
    const { pid } = await caption(scheduler, image(0));
    const decoding = admit(scheduler);
    setBundle('second');
    const reloaded = scheduler.reload();
    while (scheduler.model.bundle.id === 'example') await new Promise(setImmediate);
    const { pid: newPid } = await caption(scheduler, image(1));
    process.kill(pid, 'SIGKILL');
    const { pid: replacement } = await told(decoding.run(image(2)));
    assert.notEqual(replacement, newPid);
    await reloaded;
  });

  it('with a bundle that does not load changes nothing, and says why', async (t) => {
    const { scheduler, setBundle, setStart, logged, metric } = await startTestEngine(t);
    const { pid } = await caption(scheduler, image(0));
    for (const [fate, reason] of [
      ['refuse', 'the old one serves on: the bundle is of cheese'],
      ['crash', 'the old one serves on: ended with exit code 3'],
    ] as const) {
      setBundle('bad');
      setStart(fate);
      await Promise.all([scheduler.reload(), logged(reason)]);
      assert.equal(scheduler.model.bundle.id, 'example');
      assert.deepEqual(scheduler.readiness, { ready: true });
      assert.equal((await caption(scheduler, image(1))).pid, pid);
    }
    assert.equal(await metric('model_reloads_total', { outcome: 'failed' }), 2);
    assert.equal(await metric('model_info', { id: 'example' }), 1);
    setStart('warm');
    setBundle('good');
    await scheduler.reload();
    assert.equal(scheduler.model.bundle.id, 'good');
    assert.notEqual((await caption(scheduler, image(2))).pid, pid);
  });

  it('is done one at a time, and once more for all that was asked meanwhile', async (t) => {
    const { scheduler, setBundle, metric } = await startTestEngine(t);
    const first = scheduler.reload();
    setBundle('last');
    await Promise.all([first, scheduler.reload(), scheduler.reload(), scheduler.reload()]);
    assert.equal(scheduler.model.bundle.id, 'last');
    assert.equal(await metric('model_reloads_total', { outcome: 'swapped' }), 2);
    assert.equal(await metric('workers_ready'), 1);
  });

  it('does not let both bundles together admit more images than there are slots', async (t) => {
    const { scheduler, setBundle } = await startTestEngine(t, { maxQueueImages: 4 });
    const old = scheduler.admit(3);
    setBundle('second');
    const reloaded = scheduler.reload();
    while (scheduler.model.bundle.id === 'example') await new Promise(setImmediate);
    const full = (error: unknown): boolean => error instanceof ServiceError && error.code === 'queue_full';
    assert.throws(() => scheduler.admit(2), full);
    const last = scheduler.admit(1);
    assert.throws(() => scheduler.admit(1), full);
    old.release();
    scheduler.admit(3).release();
    last.release();
    await reloaded;
  });

  it('is left when the service drains meanwhile, and not begun afterwards', async (t) => {
    const { scheduler, setBundle, setStart, logged } = await startTestEngine(t);
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    setBundle('second');
    setStart('never');
    const reloaded = scheduler.reload();
    await new Promise(setImmediate); // its process is being started
    const drained = scheduler.drain();
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).number, 1);
    await Promise.all([drained, reloaded]);
    assert.equal(scheduler.model.bundle.id, 'example');
    await Promise.all([logged('shutting down'), scheduler.reload()]);
  });

  it('while the old bundle finishes, draining waits for that too', async (t) => {
    const { scheduler, setBundle } = await startTestEngine(t);
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    setBundle('second');
    const reloaded = scheduler.reload();
    while (scheduler.model.bundle.id === 'example') await new Promise(setImmediate);
    const drained = scheduler.drain();
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).pid, pid);
    await Promise.all([drained, reloaded]);
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  });

  it('heals a service whose processes crash in a loop', async (t) => {
    const { scheduler, setBundle, setStart, logged, metric } = await startTestEngine(t);
    const { pid } = await caption(scheduler, image(0));
    setStart('refuse'); // the folder has another bundle than the one that was read
    const fourth = (async () => {
      for (let crash = 0; crash < 4; crash++) await logged('inference process');
    })();
    process.kill(pid, 'SIGKILL');
    await fourth;
    assert.equal(scheduler.readiness.ready, false);
    assert.ok((await metric('worker_restarts_total', { reason: 'start' })) >= 2);
    setStart('warm');
    setBundle('second');
    await scheduler.reload();
    assert.deepEqual(scheduler.readiness, { ready: true });
    assert.equal((await caption(scheduler, image(1))).number, 1);
  });

  it('lets a request count its images after the swap, and answers them with the bundle that admitted it', async (t) => {
    const { scheduler, setBundle, metric } = await startTestEngine(t);
    const { pid } = await caption(scheduler, image(0));
    const permit = scheduler.admit(1); // its body is being read
    setBundle('second');
    const reloaded = scheduler.reload();
    while (scheduler.model.bundle.id === 'example') await new Promise(setImmediate);
    const permits = permit.split(3);
    const { signal } = new AbortController();
    const answers = permits.map(async ({ model }, number) =>
      told(model.run(image(number), { priority: 'batch', signal })),
    );
    for (const answer of await Promise.all(answers)) assert.equal(answer.pid, pid);
    assert.equal(await metric('slots_used'), 3);
    for (const each of permits) each.release();
    await reloaded;
    assert.equal(await metric('slots_used'), 0);
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  });
});
