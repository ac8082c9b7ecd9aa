import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ServiceError } from '../../src/problem.js';
import { caption, image, reserve, startTestEngine, told } from './test-engine.js';

describe('loading the bundle again', () => {
  it('under load loses no image: what was admitted before is answered by the old processes', async (t) => {
    const { engine, setBundle, metric } = await startTestEngine(t, { maxBatchSize: 2 });
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    const early = Array.from({ length: 100 }, (_, number) => caption(engine, image(number)));
    const decoding = reserve(engine); // admitted, its pixels not made yet
    assert.equal(decoding.model.bundle.id, 'example');

    setBundle('second');
    const reloaded = engine.reload();
    while (engine.bundle.id === 'example') {
      assert.deepEqual(engine.readiness, { ready: true });
      await new Promise(setImmediate);
    }
    const late = Array.from({ length: 100 }, (_, number) => caption(engine, image(number)));
    const newPids = new Set((await Promise.all(late)).map((answer) => answer.pid));
    assert.equal(newPids.size, 1);
    assert.ok(!newPids.has(pid));

    process.kill(pid, 'SIGUSR2');
    const old = [await held, ...(await Promise.all(early)), await told(decoding.submit(image(7)))];
    assert.deepEqual(new Set(old.map((answer) => answer.pid)), new Set([pid]));
    assert.deepEqual(
      old.map(({ number }) => number),
      [1, ...Array.from({ length: 100 }, (_, number) => number), 7],
    );
    assert.equal(await metric('model_info', { id: 'second' }), 1);
    assert.equal(await metric('model_reloads_total', { outcome: 'swapped' }), 1);
    await reloaded;
    assert.equal(await metric('places_used'), 0);
  });

  it('lets the old processes leave when the last of their images is answered', async (t) => {
    const { engine, setBundle, metric } = await startTestEngine(t, { workers: 2 });
    const { pid } = await caption(engine, image(0));
    const since = engine.servingSince;
    setBundle('second');
    await engine.reload();
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    assert.equal(await metric('workers_ready'), 2);
    assert.ok(engine.servingSince >= since);
    assert.equal((await caption(engine, image(1))).number, 1);
  });

  it('starts beside the old processes only as many as there is memory for, and the others after them', async (t) => {
    const { engine, setBundle, metric, logged } = await startTestEngine(t, {
      workers: 3,
      workersInMemory: 5,
    });
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    setBundle('second');
    const reloaded = engine.reload();
    while (engine.bundle.id === 'example') await new Promise(setImmediate);
    assert.equal(await metric('workers_ready'), 5);
    assert.equal((await caption(engine, image(2))).number, 2);
    const third = logged('is warm');
    process.kill(pid, 'SIGUSR2');
    await Promise.all([held, reloaded, third]);
    assert.equal(await metric('workers_ready'), 3);
  });

  it('gives up the processes that wait for memory when those before them do not start', async (t) => {
    const { engine, setBundle, setStart } = await startTestEngine(t, { workers: 2, workersInMemory: 3 });
    setBundle('second');
    setStart('refuse');
    await engine.reload();
    assert.equal(engine.bundle.id, 'example');
  });

  it('replaces an old process that dies while the old bundle still has images', async (t) => {
    const { engine, setBundle } = await startTestEngine(t);
    const { pid } = await caption(engine, image(0));
    const decoding = reserve(engine);
    setBundle('second');
    const reloaded = engine.reload();
    while (engine.bundle.id === 'example') await new Promise(setImmediate);
    const { pid: newPid } = await caption(engine, image(1));
    process.kill(pid, 'SIGKILL');
    const { pid: replacement } = await told(decoding.submit(image(2)));
    assert.notEqual(replacement, newPid);
    await reloaded;
  });

  it('with a bundle that does not load changes nothing, and says why', async (t) => {
    const { engine, setBundle, setStart, logged, metric } = await startTestEngine(t, { cacheSize: 10 });
    const { pid } = await caption(engine, image(0));
    for (const [fate, reason] of [
      ['refuse', 'the old one serves on: the bundle is of cheese'],
      ['crash', 'the old one serves on: ended with exit code 3'],
    ] as const) {
      setBundle('bad');
      setStart(fate);
      await Promise.all([engine.reload(), logged(reason)]);
      assert.equal(engine.bundle.id, 'example');
      assert.deepEqual(engine.readiness, { ready: true });
      assert.equal((await caption(engine, image(1))).pid, pid);
    }
    assert.equal(await metric('model_reloads_total', { outcome: 'failed' }), 2);
    assert.equal(await metric('model_info', { id: 'example' }), 1);
    setStart('warm');
    setBundle('good');
    await engine.reload();
    assert.equal(engine.bundle.id, 'good');
    assert.notEqual((await caption(engine, image(2))).pid, pid);
  });

  it('is done one at a time, and once more for all that was asked meanwhile', async (t) => {
    const { engine, setBundle, metric } = await startTestEngine(t);
    const first = engine.reload();
    setBundle('last');
    await Promise.all([first, engine.reload(), engine.reload(), engine.reload()]);
    assert.equal(engine.bundle.id, 'last');
    assert.equal(await metric('model_reloads_total', { outcome: 'swapped' }), 2);
    assert.equal(await metric('workers_ready'), 1);
  });

  it('does not let both bundles together admit more images than there are places', async (t) => {
    const { engine, setBundle } = await startTestEngine(t, { maxQueueImages: 4 });
    const old = reserve(engine, 3);
    setBundle('second');
    const reloaded = engine.reload();
    while (engine.bundle.id === 'example') await new Promise(setImmediate);
    const full = (error: unknown): boolean => error instanceof ServiceError && error.code === 'queue_full';
    assert.throws(() => reserve(engine, 2), full);
    const last = reserve(engine, 1);
    assert.throws(() => reserve(engine, 1), full);
    old.release();
    reserve(engine, 3).release();
    last.release();
    await reloaded;
  });

  it('is left when the service drains meanwhile, and not begun afterwards', async (t) => {
    const { engine, setBundle, setStart, logged } = await startTestEngine(t);
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    setBundle('second');
    setStart('never');
    const reloaded = engine.reload();
    await new Promise(setImmediate); // its process is being started
    const drained = engine.drain();
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).number, 1);
    await Promise.all([drained, reloaded]);
    assert.equal(engine.bundle.id, 'example');
    await Promise.all([logged('shutting down'), engine.reload()]);
  });

  it('while the old bundle finishes, draining waits for that too', async (t) => {
    const { engine, setBundle } = await startTestEngine(t);
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    setBundle('second');
    const reloaded = engine.reload();
    while (engine.bundle.id === 'example') await new Promise(setImmediate);
    const drained = engine.drain();
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).pid, pid);
    await Promise.all([drained, reloaded]);
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  });

  it('heals a service whose processes crash in a loop', async (t) => {
    const { engine, setBundle, setStart, logged, metric } = await startTestEngine(t);
    const { pid } = await caption(engine, image(0));
    setStart('refuse'); // the folder has another bundle than the one that was read
    const fourth = (async () => {
      for (let crash = 0; crash < 4; crash++) await logged('inference process');
    })();
    process.kill(pid, 'SIGKILL');
    await fourth;
    assert.equal(engine.readiness.ready, false);
    assert.ok((await metric('worker_restarts_total', { reason: 'start' })) >= 2);
    setStart('warm');
    setBundle('second');
    await engine.reload();
    assert.deepEqual(engine.readiness, { ready: true });
    assert.equal((await caption(engine, image(1))).number, 1);
  });

  it('answers nothing with a result of another bundle, and again with those of the same', async (t) => {
    const { engine, setBundle } = await startTestEngine(t, { cacheSize: 10 });
    const first = await caption(engine, image(1));
    setBundle('second');
    await engine.reload();
    const second = await caption(engine, image(1));
    assert.notEqual(second.pid, first.pid);
    setBundle('example');
    await engine.reload();
    assert.deepEqual((await caption(engine, image(1))).pid, first.pid);
  });
});
