import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Registry } from 'prom-client';
import type { Engine, HeldReservation, ReserveOptions, ServedModel } from '../../src/engine/engine.js';
import { ResultCache, resultKey } from '../../src/engine/result-cache.js';
import type { CaptionItem, CaptionOptions, CaptionOutcome } from '../../src/runtime/messages.js';
import { ServiceError } from '../../src/problem.js';
import { exampleFacts } from '../runtime/example-bundle.js';
import { caption, image, reserve, scoring, startTestEngine, told } from './test-engine.js';

function fails(promise: Promise<unknown>, code: string): Promise<void> {
  return assert.rejects(promise, (error) => error instanceof ServiceError && error.code === code);
}

async function ask(engine: Engine, item: CaptionItem) {
  const reservation = reserve(engine);
  try {
    return await reservation.submit(item);
  } finally {
    reservation.release();
  }
}

describe('the result cache', () => {
  it('answers the same image from memory, in no time of the model', async (t) => {
    const { engine, metric } = await startTestEngine(t, { cacheSize: 10 });
    const first = await ask(engine, image(1));
    const again = await ask(engine, image(1));
    assert.equal(first.cached, false);
    assert.deepEqual(again, {
      outcome: {
        ...first.outcome,
        timing: { encodeMs: 0, mixupMs: 0, captionMs: 0, scoreMs: 0 },
      },
      queueMs: 0,
      cached: true,
    });
    assert.equal((await ask(engine, image(2))).cached, false);
    assert.equal(await metric('batch_images', { le: '+Inf' }), 2);
    assert.equal(await metric('cache_requests_total', { result: 'hit' }), 1);
    assert.equal(await metric('cache_requests_total', { result: 'miss' }), 2);
    assert.equal(await metric('cache_results'), 2);
    assert.equal(await metric('places_used'), 0);
  });

  it('of size 0 is off: the model runs every time, at the same time too', async (t) => {
    const { engine, metric } = await startTestEngine(t);
    const answers = [...(await Promise.all([1, 1].map((number) => ask(engine, image(number)))))];
    answers.push(await ask(engine, image(1)));
    assert.deepEqual(
      answers.map(({ cached }) => cached),
      [false, false, false],
    );
    assert.equal(await metric('stage_seconds', { stage: 'encode', le: '+Inf' }), 3);
    assert.ok(Number.isNaN(await metric('cache_results')));
  });

  it('needs no free worker for what it knows', async (t) => {
    const { engine } = await startTestEngine(t, { cacheSize: 10 });
    const { pid } = await caption(engine, image(1));
    const held = caption(engine, image(2, 'hold'));
    assert.equal((await ask(engine, image(1))).cached, true);
    process.kill(pid, 'SIGUSR2');
    await held;
  });

  it('keeps so many results, and lets the one go that was not asked for the longest', async (t) => {
    const { engine, metric } = await startTestEngine(t, { cacheSize: 2 });
    for (const number of [1, 2, 1, 3]) await ask(engine, image(number));
    assert.equal(await metric('cache_results'), 2);
    assert.equal((await ask(engine, image(1))).cached, true);
    assert.equal((await ask(engine, image(2))).cached, false);
  });

  it('tells options apart', async (t) => {
    const { engine } = await startTestEngine(t, { cacheSize: 100 });
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
        assert.equal(
          (await ask(engine, image(1, 'caption', options))).cached,
          cached,
          JSON.stringify(options),
        );
      }
    }
  });

  it('answers the same texts for the same image from memory, and no other ones', async (t) => {
    const { engine } = await startTestEngine(t, { cacheSize: 100 });
    const score = async (number: number, texts: readonly string[]) => {
      const reservation = reserve(engine);
      try {
        return await reservation.score(scoring(number, texts));
      } finally {
        reservation.release();
      }
    };
    const first = await score(1, ['a dog', 'a cat']);
    const again = await score(1, ['a dog', 'a cat']);
    assert.deepEqual([first.cached, again.cached], [false, true]);
    assert.deepEqual(again.outcome.scores, first.outcome.scores);
    for (const texts of [['a cat', 'a dog'], ['a dog'], ['A dog', 'a cat']]) {
      const other = await score(1, texts);
      assert.equal(other.cached, false);
      assert.equal(other.outcome.scores.length, texts.length);
    }
    assert.equal((await score(2, ['a dog', 'a cat'])).cached, false);
    assert.equal((await ask(engine, image(1))).cached, false);
  });

  it('runs once for all who ask at the same time, each with its own place', async (t) => {
    const { engine, metric } = await startTestEngine(t, { cacheSize: 10 });
    const { pid } = await caption(engine, image(0));
    const asked = Array.from({ length: 20 }, () => ask(engine, image(1, 'hold')));
    assert.equal(await metric('places_used'), 20); // the run has that of the first
    process.kill(pid, 'SIGUSR2');
    const answers = await Promise.all(asked);
    assert.deepEqual(
      answers.map(({ cached }) => cached),
      [false, ...Array<boolean>(19).fill(true)],
    );
    for (const { outcome, cached, queueMs } of answers) {
      assert.equal(outcome.candidates[0]?.text, `1 by ${pid} asked 1/3/20//false`);
      assert.equal(outcome.timing.encodeMs, cached ? 0 : 1);
      assert.ok(queueMs >= 0);
    }
    assert.equal(await metric('cache_requests_total', { result: 'coalesced' }), 19);
    assert.equal(await metric('stage_seconds', { stage: 'encode', le: '+Inf' }), 2);
    assert.equal(await metric('places_used'), 0);
  });

  it('goes on for the others when the client who came first goes', async (t) => {
    const { engine, metric } = await startTestEngine(t, { cacheSize: 10 });
    const { pid } = await caption(engine, image(0));
    const client = new AbortController();
    const first = reserve(engine, 1, { signal: client.signal }).submit(image(1, 'hold'));
    const second = caption(engine, image(1, 'hold'));
    const hasty = reserve(engine, 1, { timeoutMs: 20 }).submit(image(1, 'hold'));
    client.abort();
    await assert.rejects(first, /the client has gone/);
    await fails(hasty, 'deadline_exceeded');
    process.kill(pid, 'SIGUSR2');
    assert.equal((await second).number, 1);
    assert.equal((await ask(engine, image(1, 'hold'))).cached, true);
    assert.equal(await metric('lost_images_total', { reason: 'gone' }), 1);
    assert.equal(await metric('lost_images_total', { reason: 'deadline' }), 1);
  });

  it('drops the image when the last who waits for it has left', async (t) => {
    const { engine, metric } = await startTestEngine(t, { cacheSize: 10, maxBatchSize: 1 });
    const { pid } = await caption(engine, image(0));
    const held = caption(engine, image(1, 'hold'));
    await new Promise(setImmediate); // the worker is taken
    const clients = [new AbortController(), new AbortController()];
    const asked = clients.map(({ signal }) => reserve(engine, 1, { signal }).submit(image(2, 'crash')));
    asked.push(reserve(engine, 1, { timeoutMs: 20 }).submit(image(3, 'crash')));
    for (const client of clients) client.abort();
    const ends = await Promise.allSettled(asked);
    assert.ok(ends.every(({ status }) => status === 'rejected'));
    assert.equal(await metric('queue_images'), 0);
    assert.equal(await metric('lost_images_total', { reason: 'gone' }), 2);
    assert.equal(await metric('lost_images_total', { reason: 'deadline' }), 1);
    process.kill(pid, 'SIGUSR2');
    assert.equal((await held).pid, pid); // none of the crashing images was run
  });

  it('keeps no failure: who asks again gets a new run', async (t) => {
    const { engine, metric } = await startTestEngine(t, { cacheSize: 10 });
    const asked = [1, 1].map((number) => ask(engine, image(number, 'fail')));
    for (const answer of asked) await fails(answer, 'internal');
    await fails(ask(engine, image(1, 'fail')), 'internal');
    assert.equal(await metric('cache_results'), 0);
    assert.equal(await metric('cache_requests_total', { result: 'miss' }), 2);
    assert.equal(await metric('places_used'), 0);
  });

  it('serves the images alike in one upload by one run', async (t) => {
    const { engine, metric } = await startTestEngine(t, { cacheSize: 10 });
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    t.after(() => process.off('warning', onWarning));
    const numbers = Array.from({ length: 32 }, (_, index) => index % 2);
    const upload = reserve(engine, numbers.length, { priority: 'batch' });
    const answers = await Promise.all(numbers.map((number) => told(upload.submit(image(number)))));
    upload.release();
    assert.deepEqual(
      answers.map(({ number }) => number),
      numbers,
    );
    assert.deepEqual(warnings, []);
    assert.equal(await metric('stage_seconds', { stage: 'encode', le: '+Inf' }), 2);
    assert.equal(await metric('places_used'), 0);
  });

  it('lets all who wait have their answer while the service drains, or fails them when the grace is over', async (t) => {
    const patient = await startTestEngine(t, { cacheSize: 10 });
    const { pid } = await caption(patient.engine, image(0));
    const asked = [1, 1].map(() => ask(patient.engine, image(1, 'hold')));
    const drained = patient.engine.drain();
    process.kill(pid, 'SIGUSR2');
    await Promise.all([...asked, drained]);

    const { engine } = await startTestEngine(t, { cacheSize: 10, shutdownGraceMs: 20 });
    const hanging = [1, 1].map(() => ask(engine, image(1, 'hang')));
    await Promise.all([engine.drain(), ...hanging.map((answer) => fails(answer, 'draining'))]);
  });

  it('lets a result with patches count for as many as it takes the memory of', async () => {
    const registry = new Registry();
    const cache = new ResultCache(10, registry, () => undefined);
    const kept = async (): Promise<number> =>
      (await registry.getSingleMetric('pcm_caption_cache_results')?.get())?.values[0]?.value ?? NaN;
    const patches = (count: number): CaptionOutcome => ({
      candidates: [],
      concepts: [{ word: 'dog', score: 1, patches: Array<number>(count).fill(0.5) }],
      timing: { encodeMs: 1, mixupMs: 1, captionMs: 1, scoreMs: 1 },
    });
    const options: ReserveOptions = {
      deadline: performance.now() + 60_000,
      priority: 'single',
      signal: new AbortController().signal,
    };
    async function submit(number: number, outcome: CaptionOutcome): Promise<void> {
      const places: HeldReservation = {
        model,
        handIn: () => Promise.resolve({ outcome, queueMs: 0, cached: false }),
        release: () => undefined,
        detach: () => places,
      };
      await cache.over(places, options).handIn(image(number));
    }
    for (const number of [1, 2, 3, 4]) await submit(number, patches(0));
    assert.equal(await kept(), 4);
    await submit(5, patches(600)); // nine
    assert.equal(await kept(), 2);
    await submit(6, patches(1000)); // more than all
    assert.equal(await kept(), 2);
  });
});

const model: ServedModel = {
  bundle: exampleFacts,
  provider: 'cpu',
  devices: [],
  placement: { encoder: 'cpu', mixup: 'cpu', decoder: 'cpu', textEncoder: 'cpu' },
  precision: 'w8',
  servingSince: 0,
};

describe('the key of a result', () => {
  const options = fc.record({
    candidates: fc.integer({ min: 1, max: 10 }),
    beamSize: fc.integer({ min: 1, max: 10 }),
    maxLength: fc.integer({ min: 4, max: 20 }),
    concepts: fc.array(fc.string({ maxLength: 3 }), { maxLength: 3 }),
    conceptsMode: fc.constantFrom<'replace' | 'extend'>('replace', 'extend'),
    avoidWords: fc.array(fc.constantFrom('man', 'dog', 'Dog'), { maxLength: 3 }),
    genderNeutral: fc.boolean(),
    explain: fc.boolean(),
  });
  const item = fc.record<CaptionItem>({
    kind: fc.constant('caption'),
    pixels: fc.uint8Array({ minLength: 3, maxLength: 6 }),
    options,
  });
  /** What the words of options mean, in the simplest way that is right. */
  const meaning = ({ pixels, options: { avoidWords, conceptsMode, ...others } }: CaptionItem): unknown => ({
    ...others,
    pixels: [...pixels],
    avoidWords: new Set(avoidWords.map((word) => word.toLowerCase())),
    conceptsMode: others.concepts.length > 0 && conceptsMode,
  });

  it('is the same exactly for pixels and options that mean the same', () => {
    fc.assert(
      fc.property(item, item, fc.boolean(), (one, other, isClose) => {
        // Two arbitrary items are hardly ever alike: often they differ in one place or none.
        const second = isClose
          ? { ...one, options: { ...one.options, avoidWords: other.options.avoidWords } }
          : other;
        let same = true;
        try {
          assert.deepEqual(meaning(one), meaning(second));
        } catch {
          same = false;
        }
        assert.equal(resultKey(model, one) === resultKey(model, second), same);
      }),
      { numRuns: 500 },
    );
  });

  it('differs from model to model', () => {
    const models: ServedModel[] = [
      model,
      { ...model, bundle: { ...exampleFacts, digest: 'another' } },
      { ...model, provider: 'cuda' },
      { ...model, precision: 'int8' },
      { ...model, placement: { ...model.placement, decoder: 'cuda' } },
    ];
    assert.equal(new Set(models.map((each) => resultKey(each, image(1)))).size, models.length);
    assert.equal(resultKey({ ...model, servingSince: 5 }, image(1)), resultKey(model, image(1)));
  });
});
