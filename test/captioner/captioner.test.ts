import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Registry } from 'prom-client';
import { answerSize } from '../../src/captioner/cached-answer.js';
import { type CaptionerDeps, createCaptioner, type RequestContext } from '../../src/captioner/captioner.js';
import type { ImageSource } from '../../src/captioner/image-source.js';
import type { CaptionOptions } from '../../src/captioner/options.js';
import type {
  CaptionItem,
  CaptionOutcome,
  ScoreItem,
  ScoreOutcome,
  WorkItem,
  WorkOutcome,
} from '../../src/inference/messages.js';
import type { Answered } from '../../src/scheduler/model.js';
import { Permit } from '../../src/scheduler/permit.js';
import { ResultCache } from '../../src/scheduler/result-cache.js';
import { exampleFacts } from '../inference/example-bundle.js';
import { fakeModel } from '../scheduler/fake-model.js';
import { admit, caption, contextOf, fails, image } from '../scheduler/test-engine.js';
import {
  createFakeDecoder,
  file,
  optionsOf,
  startTestCaptioner,
  tellsOf,
  withPermit,
} from './test-captioner.js';
import { ClientDisconnected, deferred } from '../../src/promises.js';

const timing = { encodeMs: 1.005, mixupMs: 2.123, captionMs: 3.456, scoreMs: 4 };
const candidate = {
  text: 'A dog',
  confidence: 0.12345678,
  clipScore: 1.23456789,
  logProb: -2.00000049,
  meanLogProb: -0.33333333,
};

/** A captioner over a model that answers every image with the same. */
function captionerOf(outcome: WorkOutcome, parts: Partial<CaptionerDeps> = {}) {
  const items: WorkItem[] = [];
  function run(item: CaptionItem): Promise<Answered<CaptionOutcome>>;
  function run(item: ScoreItem): Promise<Answered<ScoreOutcome>>;
  function run(item: WorkItem): Promise<Answered>;
  function run(item: WorkItem): Promise<Answered> {
    items.push(item);
    return Promise.resolve({ outcome, queueMs: 1.23456 });
  }
  const none = (): void => undefined;
  const slots = { admitSlots: none, takeSlots: none, requireSlots: none, freeSlots: none };
  const context: RequestContext = {
    permit: Permit.take(slots, fakeModel({ run }), 1),
    priority: 'single',
    signal: new AbortController().signal,
    client: 'somebody',
    startedAt: performance.now(),
  };
  const decoder = createFakeDecoder();
  const captioner = createCaptioner({ decoder, maxFetchedBytes: 1000, ...parts });
  const source: ImageSource = { kind: 'bytes', bytes: file(1) };
  return { captioner, context, decoder, items, source };
}

const captionOutcome: CaptionOutcome = {
  candidates: [candidate, { ...candidate, text: 'A cat', confidence: 0.1 }],
  concepts: [
    { word: 'dog', score: 0.98765432 },
    { word: 'cat', score: 0.01 },
  ],
  timing,
};
const scoreOutcome: ScoreOutcome = {
  scores: [
    { cosine: 0.12345678, clipScore: 0.3086419, matchProbability: 0.98765432, isTruncated: false },
    { cosine: -0.1, clipScore: 0, isTruncated: true },
  ],
  timing,
};

describe('a caption', () => {
  it('is the best of the candidates, with rounded scores, concepts, the image, the model and the times', async () => {
    const { captioner, context, source, items } = captionerOf(captionOutcome);
    const { minConfidence, ...forModel } = optionsOf();
    const result = await captioner.caption(source, { minConfidence, ...forModel }, context);
    const scores = { confidence: 0.123457, clipScore: 1.234568, logProb: -2, meanLogProb: -0.333333 };
    const { decodeMs, totalMs, ...times } = result.timing;
    assert.deepEqual(result, {
      caption: 'A dog',
      ...scores,
      captions: [
        { text: 'A dog', ...scores },
        { text: 'A cat', ...scores, confidence: 0.1 },
      ],
      concepts: [
        { word: 'dog', share: 0.987654, score: 0.987654 },
        { word: 'cat', share: 0.01, score: 0.01 },
      ],
      image: { width: 640, height: 480, format: 'jpeg' },
      model: { id: exampleFacts.id, version: exampleFacts.version },
      timing: result.timing,
    });
    assert.deepEqual(times, {
      queueMs: 1.23,
      encodeMs: 1,
      mixupMs: 2.12,
      captionMs: 3.46,
      scoreMs: 4,
      cached: false,
    });
    assert.ok(0 <= decodeMs && decodeMs <= totalMs);
    assert.deepEqual(items, [{ kind: 'caption', options: forModel, pixels: Uint8Array.from(file(1)) }]);
  });

  it('is null below the confidence that is asked for, and the candidates are there all the same', async () => {
    const { captioner, context, source } = captionerOf(captionOutcome);
    const ask = (minConfidence: number) => captioner.caption(source, optionsOf({ minConfidence }), context);
    const unsure = await ask(0.2);
    assert.deepEqual([unsure.caption, unsure.captions[0]?.text], [null, 'A dog']);
    assert.equal((await ask(0.1)).caption, 'A dog');
    // What is shown is what is compared.
    assert.equal((await ask(0.123457)).caption, 'A dog');
  });

  it('that is explained says where each concept was found', async () => {
    const patches = [0.1234567, 0.5, -0.25, 0];
    const { captioner, context, source } = captionerOf({
      ...captionOutcome,
      concepts: [{ word: 'dog', score: 1, patches }],
      gridSize: { rows: 2, columns: 2 },
    });
    const { concepts, gridSize } = await captioner.caption(source, optionsOf({ explain: true }), context);
    assert.deepEqual(concepts, [{ word: 'dog', share: 1, score: 1, patches: [0.123457, 0.5, -0.25, 0] }]);
    assert.deepEqual(gridSize, { rows: 2, columns: 2 });
  });
});

describe('scores', () => {
  it('are one for each text, null where the model has no calibration', async () => {
    const { captioner, context, source, items } = captionerOf(scoreOutcome);
    const texts = ['a dog', 'a very long text'];
    const { scores, image: facts, model, timing: times } = await captioner.score(source, texts, context);
    assert.deepEqual(scores, [
      { text: 'a dog', cosine: 0.123457, clipScore: 0.308642, matchProbability: 0.987654, truncated: false },
      { text: 'a very long text', cosine: -0.1, clipScore: 0, matchProbability: null, truncated: true },
    ]);
    assert.deepEqual(facts, { width: 640, height: 480, format: 'jpeg' });
    assert.deepEqual(model, { id: exampleFacts.id, version: exampleFacts.version });
    assert.deepEqual([times.queueMs, times.encodeMs, times.scoreMs, times.cached], [1.23, 1, 4, false]);
    assert.deepEqual(items, [{ kind: 'score', texts, pixels: Uint8Array.from(file(1)) }]);
  });
});

describe('an image', () => {
  it('that cannot be read costs no decoding, no run and no result', async () => {
    const { captioner, context, decoder, items } = captionerOf(captionOutcome);
    const refused = captioner.caption({ kind: 'base64', text: 'not*base64' }, optionsOf(), context);
    await fails(refused, 'invalid_base64');
    const url: ImageSource = { kind: 'url', url: 'https://example.com/a.jpg' };
    await fails(captioner.score(url, ['a dog'], context), 'url_not_allowed');
    assert.deepEqual([decoder.requests.length, items.length], [0, 0]);
  });

  it('is fetched from its URL, of no more bytes than an image may have', async () => {
    const limits: number[] = [];
    const { captioner, context, items } = captionerOf(captionOutcome, {
      maxFetchedBytes: 123,
      fetchImage: (_url, { maxBytes }) => {
        limits.push(maxBytes);
        return Promise.resolve(file(7));
      },
    });
    await captioner.caption({ kind: 'url', url: 'https://example.com/a.jpg' }, optionsOf(), context);
    assert.deepEqual(limits, [123]);
    const [first] = items;
    assert.ok(first !== undefined && 'pixels' in first);
    assert.deepEqual(first.pixels, Uint8Array.from(file(7)));
  });

  it('of a batch upload waits for decoders behind single ones', async (t) => {
    const { ask, decoder } = await startTestCaptioner(t);
    await ask(file(1), {}, { priority: 'batch' });
    await ask(file(2));
    assert.deepEqual(
      decoder.requests.map(({ priority }) => priority),
      ['batch', 'single'],
    );
  });

  for (const cacheSize of [0, 10]) {
    it(`whose request ends while it is decoded is not run (cache of ${cacheSize})`, async (t) => {
      const { ask, decoder, metric } = await startTestCaptioner(t, { cacheSize });
      decoder.until = new Promise(() => undefined);
      const client = new AbortController();
      const gone = ask(file(1), {}, { signal: client.signal });
      const late = ask(file(2), {}, { timeoutMs: 20 });
      client.abort();
      await Promise.all([assert.rejects(gone, ClientDisconnected), fails(late, 'deadline_exceeded')]);
      assert.ok(decoder.requests.every(({ signal }) => signal.aborted));
      assert.equal(await metric('slots_used'), 0);
      assert.equal(await metric('batch_images', { le: '+Inf' }), 0);
      decoder.until = undefined;
      assert.equal(tellsOf(await ask(file(1))).number, 1);
    });
  }
});

describe('an identical request', () => {
  it('is answered from memory, without decoding and in no time of the model', async (t) => {
    const { ask, decoder, metric } = await startTestCaptioner(t, { cacheSize: 10 });
    const first = await ask(file(1));
    const again = await ask(file(1));
    assert.equal(first.timing.cached, false);
    assert.ok(again.timing.totalMs >= 0);
    assert.deepEqual(again, {
      ...first,
      timing: {
        queueMs: 0,
        decodeMs: 0,
        encodeMs: 0,
        mixupMs: 0,
        captionMs: 0,
        scoreMs: 0,
        totalMs: again.timing.totalMs,
        cached: true,
      },
    });
    assert.equal((await ask(file(2))).timing.cached, false);
    assert.equal(decoder.requests.length, 2);
    assert.equal(await metric('batch_images', { le: '+Inf' }), 2);
    assert.equal(await metric('cache_requests_total', { result: 'hit' }), 1);
    assert.equal(await metric('cache_requests_total', { result: 'miss' }), 2);
    assert.equal(await metric('cache_results'), 2);
    assert.equal(await metric('slots_used'), 0);
  });

  it('runs the model every time where there is no cache, at the same time too', async (t) => {
    const { ask, decoder, metric } = await startTestCaptioner(t);
    const results = await Promise.all([1, 1].map((number) => ask(file(number))));
    results.push(await ask(file(1)));
    assert.deepEqual(
      results.map(({ timing: { cached } }) => cached),
      [false, false, false],
    );
    assert.equal(decoder.requests.length, 3);
    assert.equal(await metric('stage_seconds', { stage: 'encode', le: '+Inf' }), 3);
    assert.ok(Number.isNaN(await metric('cache_results')));
  });

  it('needs no free worker for what is known', async (t) => {
    const { ask, scheduler } = await startTestCaptioner(t, { cacheSize: 10 });
    const { pid } = tellsOf(await ask(file(1)));
    const held = caption(scheduler, image(2, 'hold'));
    assert.equal((await ask(file(1))).timing.cached, true);
    process.kill(pid, 'SIGUSR2');
    await held;
  });

  it('is answered again by the model when its result was not asked for the longest', async (t) => {
    const { ask, metric } = await startTestCaptioner(t, { cacheSize: 2 });
    for (const number of [1, 2, 1, 3]) await ask(file(number));
    assert.equal(await metric('cache_results'), 2);
    assert.equal((await ask(file(1))).timing.cached, true);
    assert.equal((await ask(file(2))).timing.cached, false);
  });

  it('has all options alike; the lowest confidence that is shown may differ', async (t) => {
    const { ask } = await startTestCaptioner(t, { cacheSize: 100 });
    const unlike: Partial<CaptionOptions>[] = [
      {},
      { candidates: 2 },
      { beamSize: 4 },
      { maxLength: 10 },
      { concepts: ['dog'] },
      { concepts: ['dog'], conceptsMode: 'extend' },
      { avoidWords: ['man'] },
      { genderNeutral: true },
      { explain: true },
    ];
    for (const cached of [false, true]) {
      for (const options of unlike) {
        const result = await ask(file(1), options);
        assert.equal(result.timing.cached, cached, JSON.stringify(options));
      }
    }
    const unsure = await ask(file(1), { minConfidence: 0.9 });
    assert.deepEqual([unsure.timing.cached, unsure.caption], [true, null]);
  });

  it('has the same texts in the same order, and is no caption', async (t) => {
    const { ask, askScore } = await startTestCaptioner(t, { cacheSize: 100 });
    const first = await askScore(file(1), ['a dog', 'a cat']);
    const again = await askScore(file(1), ['a dog', 'a cat']);
    assert.deepEqual([first.timing.cached, again.timing.cached], [false, true]);
    assert.deepEqual(again.scores, first.scores);
    assert.deepEqual([again.timing.decodeMs, again.timing.encodeMs, again.timing.scoreMs], [0, 0, 0]);
    for (const texts of [['a cat', 'a dog'], ['a dog'], ['A dog', 'a cat']]) {
      const other = await askScore(file(1), texts);
      assert.equal(other.timing.cached, false);
      assert.equal(other.scores.length, texts.length);
    }
    assert.equal((await askScore(file(2), ['a dog', 'a cat'])).timing.cached, false);
    assert.equal((await ask(file(1))).timing.cached, false);
  });

  it('at the same time shares one decoding and one run, each with its own slot', async (t) => {
    const { ask, decoder, metric, scheduler } = await startTestCaptioner(t, { cacheSize: 10 });
    const { pid } = await caption(scheduler, image(0));
    const asked = Array.from({ length: 20 }, () => ask(file(1, 'hold')));
    assert.equal(await metric('slots_used'), 20); // the run has that of the first
    process.kill(pid, 'SIGUSR2');
    const results = await Promise.all(asked);
    assert.deepEqual(
      results.map(({ timing: { cached } }) => cached),
      [false, ...Array<boolean>(19).fill(true)],
    );
    for (const { caption: text, timing: times } of results) {
      assert.equal(text, `1 by ${pid} asked 1/3/20//false`);
      assert.equal(times.encodeMs, times.cached ? 0 : 1);
      assert.ok(times.queueMs >= 0);
    }
    assert.equal(decoder.requests.length, 1);
    assert.equal(await metric('cache_requests_total', { result: 'coalesced' }), 19);
    assert.equal(await metric('stage_seconds', { stage: 'encode', le: '+Inf' }), 2);
    assert.equal(await metric('slots_used'), 0);
  });

  it('is answered although the client who came first goes', async (t) => {
    const { ask, metric, scheduler } = await startTestCaptioner(t, { cacheSize: 10 });
    const { pid } = await caption(scheduler, image(0));
    const client = new AbortController();
    const first = ask(file(1, 'hold'), {}, { signal: client.signal });
    const second = ask(file(1, 'hold'));
    const hasty = ask(file(1, 'hold'), {}, { timeoutMs: 20 });
    client.abort();
    await assert.rejects(first, ClientDisconnected);
    await fails(hasty, 'deadline_exceeded');
    assert.equal(await metric('slots_used'), 1);
    process.kill(pid, 'SIGUSR2');
    assert.equal(tellsOf(await second).number, 1);
    assert.equal((await ask(file(1, 'hold'))).timing.cached, true);
    assert.equal(await metric('dropped_images_total', { reason: 'gone' }), 1);
    assert.equal(await metric('dropped_images_total', { reason: 'deadline' }), 1);
    assert.equal(await metric('slots_used'), 0);
  });

  it('is dropped when the last who waits for it has left', async (t) => {
    const { ask, metric, scheduler } = await startTestCaptioner(t, { cacheSize: 10 });
    const { pid } = await caption(scheduler, image(0));
    const held = caption(scheduler, image(1, 'hold'));
    await new Promise(setImmediate); // the worker is taken
    const clients = [new AbortController(), new AbortController()];
    const asked = clients.map(({ signal }) => ask(file(2, 'crash'), {}, { signal }));
    asked.push(ask(file(3, 'crash'), {}, { timeoutMs: 40 }));
    while ((await metric('queue_images')) < 2) await new Promise(setImmediate);
    for (const client of clients) client.abort();
    const ends = await Promise.allSettled(asked);
    assert.ok(ends.every(({ status }) => status === 'rejected'));
    assert.equal(await metric('queue_images'), 0);
    assert.equal(await metric('slots_used'), 1);
    assert.equal(await metric('dropped_images_total', { reason: 'gone' }), 2);
    assert.equal(await metric('dropped_images_total', { reason: 'deadline' }), 1);
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).pid, pid); // none of the crashing images was run
  });

  it('gets a new run after a failure', async (t) => {
    const { ask, metric } = await startTestCaptioner(t, { cacheSize: 10 });
    const asked = [1, 1].map((number) => ask(file(number, 'fail')));
    for (const result of asked) await fails(result, 'internal');
    await fails(ask(file(1, 'fail')), 'internal');
    assert.equal(await metric('cache_results'), 0);
    assert.equal(await metric('cache_requests_total', { result: 'miss' }), 2);
    assert.equal(await metric('slots_used'), 0);
  });

  it('in one upload shares one run with the others, without a warning of too many listeners', async (t) => {
    const { captioner, metric, scheduler } = await startTestCaptioner(t, { cacheSize: 10 });
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    t.after(() => process.off('warning', onWarning));
    const numbers = Array.from({ length: 32 }, (_, index) => index % 2);
    const { contexts } = admit(scheduler, numbers.length, { priority: 'batch' });
    const results = await Promise.all(
      contexts.map((own, index) =>
        withPermit(own, (context) =>
          captioner.caption({ kind: 'bytes', bytes: file(index % 2) }, optionsOf(), context),
        ),
      ),
    );
    assert.deepEqual(
      results.map((result) => tellsOf(result).number),
      numbers,
    );
    assert.deepEqual(warnings, []);
    assert.equal(await metric('stage_seconds', { stage: 'encode', le: '+Inf' }), 2);
    assert.equal(await metric('slots_used'), 0);
  });

  it('is answered while the service drains, or fails when the grace is over', async (t) => {
    const patient = await startTestCaptioner(t, { cacheSize: 10 });
    const { pid } = await caption(patient.scheduler, image(0));
    const asked = [1, 1].map(() => patient.ask(file(1, 'hold')));
    const drained = patient.scheduler.drain();
    process.kill(pid, 'SIGUSR2');
    await Promise.all([...asked, drained]);

    const { ask, scheduler } = await startTestCaptioner(t, { cacheSize: 10, shutdownGraceMs: 20 });
    const hanging = [1, 1].map(() => ask(file(1, 'hang')));
    await Promise.all([scheduler.drain(), ...hanging.map((result) => fails(result, 'draining'))]);
  });

  it('that is explained leaves room for fewer others, as its result takes the memory of several', async () => {
    const registry = new Registry();
    const cache = new ResultCache({
      maxSize: 10,
      sizeOf: answerSize,
      onLeave: () => undefined,
      registry,
    });
    const kept = async (): Promise<number> =>
      (await registry.getSingleMetric('pcm_caption_cache_results')?.get())?.values[0]?.value ?? NaN;
    async function ask(number: number, patches: number): Promise<void> {
      const explained = { word: 'dog', score: 1, patches: Array<number>(patches).fill(0.5) };
      const { captioner, context } = captionerOf({ ...captionOutcome, concepts: [explained] }, { cache });
      await captioner.caption({ kind: 'bytes', bytes: file(number) }, optionsOf(), context);
    }
    for (const number of [1, 2, 3, 4]) await ask(number, 0);
    assert.equal(await kept(), 4);
    await ask(5, 600); // nine
    assert.equal(await kept(), 2);
    await ask(6, 1000); // more than all
    assert.equal(await kept(), 2);
  });
});

describe('after the bundle was loaded again, an identical request', () => {
  it('is not answered with a result of another bundle, and again with those of the same', async (t) => {
    const { ask, scheduler, setBundle } = await startTestCaptioner(t, { cacheSize: 10 });
    const first = tellsOf(await ask(file(1)));
    setBundle('second');
    await scheduler.reload();
    const second = await ask(file(1));
    assert.equal(second.model.id, 'second');
    assert.notEqual(tellsOf(second).pid, first.pid);
    setBundle('example');
    await scheduler.reload();
    const third = await ask(file(1));
    assert.deepEqual([third.timing.cached, tellsOf(third).pid], [true, first.pid]);
  });

  it('gets a run of its own while one of the old processes is under way, which may end with its client', async (t) => {
    const { ask, decoder, scheduler } = await startTestCaptioner(t, { cacheSize: 10 });
    const { pid } = await caption(scheduler, image(0));
    const decoded = deferred<undefined>();
    decoder.until = decoded.promise;
    const client = new AbortController();
    const first = ask(file(1), {}, { signal: client.signal });
    const { servingSince } = scheduler.model;
    const reloaded = scheduler.reload(); // the same bundle
    while (scheduler.model.servingSince === servingSince) await new Promise(setImmediate);
    const second = ask(file(1));
    client.abort();
    await assert.rejects(first, ClientDisconnected);
    await reloaded; // the old processes have left
    decoded.resolve(undefined);
    const { number, pid: newPid } = tellsOf(await second);
    assert.equal(number, 1);
    assert.notEqual(newPid, pid);
  });
});

describe('the model that answers', () => {
  it('is the one that admitted the request, though another serves when it is decoded', async (t) => {
    const { captioner, decoder, scheduler, setBundle } = await startTestCaptioner(t, { cacheSize: 10 });
    const decoded = deferred<undefined>();
    decoder.until = decoded.promise;
    const asked = withPermit(contextOf(scheduler), (context) =>
      captioner.caption({ kind: 'bytes', bytes: file(1) }, optionsOf(), context),
    );
    setBundle('second');
    const reloaded = scheduler.reload();
    while (scheduler.model.bundle.id === 'example') await new Promise(setImmediate);
    decoded.resolve(undefined);
    assert.equal((await asked).model.id, 'example');
    await reloaded;
  });
});
