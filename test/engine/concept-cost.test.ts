import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConceptCost, textCost } from '../../src/engine/concept-cost.js';

describe('the cost of concepts', () => {
  it('is that of embedding the words not seen before', () => {
    const cost = new ConceptCost({ prompts: 8, cacheSize: 100 });
    assert.equal(cost.of([]), 0);
    assert.equal(cost.of(['dog', 'cat', 'tree', 'house']), 1);
    assert.equal(cost.of(['dog', 'cat', 'tree', 'house']), 0);
    assert.equal(cost.of(['dog', 'cow', 'hen', 'pig', 'fox', 'bee']), 2);
  });

  it('is for texts that of embedding them all', () => {
    assert.deepEqual([1, 32, 33, 64].map(textCost), [1, 1, 2, 2]);
  });
});
