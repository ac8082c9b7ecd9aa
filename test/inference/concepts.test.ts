import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createConceptSource } from '../../src/inference/concepts.js';

/**
 * The bundle has dog = (1, 0) and cat = (0, 1). The text encoder gives (0, 1) for texts that begin with "one", and
 * (1, 0) for all others.
 */
function createSource(cacheSize = 10) {
  const embedded: string[] = [];
  const source = createConceptSource({
    words: ['dog', 'cat'],
    embeddings: { data: Float32Array.of(1, 0, 0, 1), count: 2, width: 2 },
    prompts: ['a photo of a {}', 'one {}'],
    k: 3,
    cacheSize,
    embedTexts: (texts) => {
      embedded.push(...texts);
      const data = texts.flatMap((text) => (text.startsWith('one') ? [0, 1] : [1, 0]));
      return Promise.resolve({ data: Float32Array.from(data), count: texts.length, width: 2 });
    },
  });
  return { source, embedded };
}

const none = { concepts: [], conceptsMode: 'replace' } as const;
const replace = (...concepts: string[]) => ({ concepts, conceptsMode: 'replace' }) as const;
const extend = (...concepts: string[]) => ({ concepts, conceptsMode: 'extend' }) as const;

describe('concepts', () => {
  it("are the bundle's when the client brings none, padded with zero rows to the graph's minimum", async () => {
    const { source } = createSource();
    const { words, embeddings } = await source.vocabularyOf(none);
    assert.deepEqual(words, ['dog', 'cat']);
    assert.equal(embeddings.count, 3);
    assert.deepEqual([...embeddings.data], [1, 0, 0, 1, 0, 0]);
  });

  it("of a client are embedded as the average direction of the bundle's prompts", async () => {
    const { source, embedded } = createSource();
    const { words, embeddings } = await source.vocabularyOf(replace('Eiffel Tower', 'owl', 'bee'));
    assert.deepEqual(words, ['Eiffel Tower', 'owl', 'bee']);
    assert.deepEqual(embedded.slice(0, 2), ['a photo of a eiffel tower', 'one eiffel tower']);
    for (const value of embeddings.data) assert.ok(Math.abs(value - Math.SQRT1_2) < 1e-6);
  });

  it("extend the bundle's vocabulary, each word once", async () => {
    const { source } = createSource();
    const { words, embeddings } = await source.vocabularyOf(extend('Dog', 'owl', ' OWL '));
    assert.deepEqual(words, ['dog', 'cat', 'owl']);
    assert.deepEqual([...embeddings.data.subarray(0, 4)], [1, 0, 0, 1]);
    assert.equal(embeddings.count, 3);
  });

  it('that a client named are known by their rows in its vocabulary', async () => {
    const { source } = createSource();
    for (const options of [
      none,
      extend(),
      replace('owl', 'dog', 'Owl'),
      extend('owl', 'Cat', 'bee', 'cat'),
    ]) {
      const { words } = await source.vocabularyOf(options);
      const named = source.clientRows(options).map((row) => words[row]?.toLowerCase());
      const asked = new Set<string | undefined>(options.concepts.map((word) => word.toLowerCase()));
      assert.deepEqual(new Set(named), asked);
      assert.equal(named.length, asked.size);
    }
  });

  it('are embedded once and then come from the cache', async () => {
    const { source, embedded } = createSource();
    await source.vocabularyOf(replace('owl', 'bee'));
    await source.vocabularyOf(extend('bee', 'owl', 'fox'));
    assert.equal(embedded.length, 3 * 2);
  });

  it('are complete when the cache is smaller than the vocabulary', async () => {
    const { source } = createSource(1);
    const { embeddings } = await source.vocabularyOf(replace('owl', 'bee', 'fox'));
    assert.ok(embeddings.data.every((value) => value > 0.7));
  });

  it('are inserted into prompts literally, also with a replacement pattern in them', async () => {
    const { source, embedded } = createSource();
    await source.vocabularyOf(replace('$& {}'));
    assert.deepEqual(embedded, ['a photo of a $& {}', 'one $& {}']);
  });

  it('have the same key exactly when they are the same vocabulary', () => {
    const { source } = createSource();
    assert.equal(source.keyOf(none), source.keyOf(extend('dog')));
    assert.equal(source.keyOf(replace('Owl', 'bee')), source.keyOf(replace('owl ', 'bee', 'owl')));
    assert.notEqual(source.keyOf(replace('owl')), source.keyOf(extend('owl')));
    assert.notEqual(source.keyOf(replace('owl', 'bee')), source.keyOf(replace('bee', 'owl')));
    assert.notEqual(source.keyOf(replace('owl bee')), source.keyOf(replace('owl', 'bee')));
  });
});
