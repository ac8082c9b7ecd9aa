import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Registry } from 'prom-client';
import { type FindRequest, type Found, ResultCache } from '../../src/scheduler/result-cache.js';
import { ClientDisconnected, type Deferred, deferred } from '../../src/promises.js';

interface Result {
  readonly text: string;
  readonly size: number;
}

function startCache(maxSize: number) {
  const registry = new Registry();
  const left: AbortSignal[] = [];
  const cache = new ResultCache<Result>({
    maxSize,
    sizeOf: ({ size }) => size,
    onLeave: (signal) => left.push(signal),
    registry,
  });
  async function metric(name: string, result?: string): Promise<number> {
    const found = await registry.getSingleMetric(`pcm_caption_cache_${name}`)?.get();
    return found?.values.find(({ labels }) => labels['result'] === result)?.value ?? NaN;
  }
  /** Finds what is there, or makes it at once. */
  function find(key: string, { size = 1, ...request }: Partial<FindRequest> & { size?: number } = {}) {
    return cache.find(key, requestOf(request), () => Promise.resolve({ text: `of ${key}`, size }));
  }
  return { cache, find, metric, left };
}

function requestOf(request: Partial<FindRequest> = {}): FindRequest {
  return { scope: 'engine', priority: 'single', signal: new AbortController().signal, ...request };
}

describe('the result cache', () => {
  it('gives the result of a key again without a run, in no time', async () => {
    const { cache, find, metric } = startCache(10);
    const first = await find('a');
    assert.deepEqual(first, { result: { text: 'of a', size: 1 }, cached: false, waitedMs: 0 });
    const again = await cache.find('a', requestOf(), () => Promise.reject(new Error('there is no need to')));
    assert.deepEqual(again, { ...first, cached: true });
    assert.equal((await find('b')).cached, false);
    assert.equal(await metric('requests_total', 'hit'), 1);
    assert.equal(await metric('requests_total', 'miss'), 2);
    assert.equal(await metric('requests_total', 'coalesced'), 0);
    assert.equal(await metric('results'), 2);
  });

  it('gives a result that was kept to every scope and priority', async () => {
    const { find } = startCache(10);
    await find('a');
    assert.equal((await find('a', { scope: 'the next engine', priority: 'batch' })).cached, true);
  });

  it('keeps so many results, and lets the one go that was not asked for the longest', async () => {
    const { find, metric } = startCache(2);
    for (const key of ['a', 'b', 'a', 'c']) await find(key);
    assert.equal(await metric('results'), 2);
    assert.equal((await find('a')).cached, true);
    assert.equal((await find('b')).cached, false);
  });

  it('lets a large result take the room of several, and keeps none that is larger than all of it', async () => {
    const { find, metric } = startCache(10);
    for (const key of ['a', 'b', 'c', 'd']) await find(key);
    assert.equal(await metric('results'), 4);
    await find('e', { size: 9 });
    assert.equal(await metric('results'), 2);
    await find('f', { size: 11 });
    assert.equal(await metric('results'), 2);
    assert.equal((await find('f')).cached, false);
  });

  it('keeps no failure', async () => {
    const { cache, find, metric } = startCache(10);
    const failing = cache.find('a', requestOf(), () => Promise.reject(new Error('no caption')));
    await assert.rejects(failing, /no caption/);
    assert.equal(await metric('results'), 0);
    assert.equal((await find('a')).cached, false);
    assert.equal(await metric('requests_total', 'miss'), 2);
  });

  describe('while a run is under way', () => {
    function startRuns() {
      const runs: { answer: Deferred<Result>; signal: AbortSignal }[] = [];
      const { cache, metric, left } = startCache(10);
      function find(request: Partial<FindRequest> = {}): Promise<Found<Result>> {
        const found = cache.find('a', requestOf(request), (signal) => {
          const answer = deferred<Result>();
          runs.push({ answer, signal });
          return answer.promise;
        });
        found.catch(() => undefined);
        return found;
      }
      return { find, runs, metric, left };
    }
    const result = { text: 'of a', size: 1 };

    it('lets requests for the same wait for it, and says how long they did', async () => {
      const { find, runs, metric } = startRuns();
      const [first, second] = [find(), find()];
      await new Promise((resolve) => setTimeout(resolve, 5)); // time passes
      runs[0]?.answer.resolve(result);
      assert.deepEqual(await first, { result, cached: false, waitedMs: 0 });
      const { waitedMs, ...found } = await second;
      assert.deepEqual(found, { result, cached: true });
      assert.ok(waitedMs >= 4, `${waitedMs} ms`);
      assert.equal(runs.length, 1);
      assert.equal(await metric('requests_total', 'miss'), 1);
      assert.equal(await metric('requests_total', 'coalesced'), 1);
    });

    it('starts another for a request of another scope', async () => {
      const { find, runs } = startRuns();
      const [first, second] = [find(), find({ scope: 'the next engine' })];
      assert.equal(runs.length, 2);
      for (const { answer } of runs) answer.resolve(result);
      for (const found of [first, second]) assert.equal((await found).cached, false);
    });

    it('goes on when the first who wanted it leaves, and ends with the last', async () => {
      const { find, runs, left } = startRuns();
      const clients = [new AbortController(), new AbortController()];
      const found = clients.map(({ signal }) => find({ signal }));
      clients[0]?.abort(new ClientDisconnected());
      await assert.rejects(found[0] ?? Promise.resolve(), ClientDisconnected);
      assert.deepEqual(left, [clients[0]?.signal]);
      assert.equal(runs[0]?.signal.aborted, false);
      clients[1]?.abort(new ClientDisconnected());
      await assert.rejects(found[1] ?? Promise.resolve(), ClientDisconnected);
      assert.ok(runs[0].signal.reason instanceof ClientDisconnected);
      assert.equal(left.length, 1); // who runs it counts the last one
    });
  });
});
