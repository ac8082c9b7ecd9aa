import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConceptCost, textCost } from '../../src/scheduler/bundle-engine.js';

describe('the cost of concepts', () => {
  it('is that of embedding the words not seen before', () => {
    const cost = new ConceptCost({ prompts: 8, cacheSize: 100 });
    assert.equal(cost.of([]), 0);
    assert.equal(cost.of(['dog', 'cat', 'tree', 'house']), 1);
    assert.equal(cost.of(['dog', 'cat', 'tree', 'house']), 0);
    assert.equal(cost.of(['dog', 'cow', 'hen', 'pig', 'fox', 'bee', 'ant', 'owl']), 2);
  });

  it('grows with the length of the words, as the time does', () => {
    const words = (letters: number) =>
      Array.from({ length: 100 }, (_, at) => String(at).padEnd(letters, 'x'));
    const cost = (letters: number) => new ConceptCost({ prompts: 3, cacheSize: 100 }).of(words(letters));
    assert.deepEqual([cost(4), cost(38)], [8, 27]);
  });

  it('is for texts that of embedding them all, and of what is read of each', () => {
    const texts = (count: number, letters: number) =>
      Array.from({ length: count }, () => 'x'.repeat(letters));
    assert.deepEqual(
      [texts(1, 1), texts(8, 56), texts(9, 56), texts(64, 500)].map((each) => textCost(each)),
      [1, 1, 2, 17],
    );
  });
});
