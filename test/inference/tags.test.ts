import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findTags, type TagModel, type TagOptions } from '../../src/inference/tags.js';

/** Two words: one along the first axis, one along the second. */
const model: TagModel = {
  features: ['cosine', 'inCaption', 'inCandidates'],
  words: [
    { word: 'dog', forms: ['dog', 'dogs'], intercept: -1, coefficients: [1, 2, 4] },
    { word: 'woman', forms: ['woman', 'women'], intercept: 0, coefficients: [1, 0, 0] },
  ],
  embeddings: { data: Float32Array.of(1, 0, 0, 1), count: 2, width: 2 },
};
const options: TagOptions = { minTagProbability: 0, maxTags: 20, avoidWords: [], genderNeutral: false };
const sigmoid = (logit: number) => 1 / (1 + Math.exp(-logit));
const find = (candidates: string[][], more: Partial<TagOptions> = {}) =>
  findTags(model, Float32Array.of(0.6, 0.8), candidates, { ...options, ...more });

describe('the tags of an image', () => {
  it('have the probability of each word’s own function, the most probable first', () => {
    const tags = find([
      ['two', 'dogs'],
      ['a', 'cat'],
    ]);
    assert.deepEqual(
      tags.map(({ word }) => word),
      ['dog', 'woman'],
    );
    assert.ok(Math.abs((tags[0]?.probability ?? 0) - sigmoid(-1 + 0.6 + 2 + 4 / 2)) < 1e-6);
    assert.ok(Math.abs((tags[1]?.probability ?? 0) - sigmoid(0.8)) < 1e-6);
  });

  it('are at least as probable as asked, and no more than asked', () => {
    assert.deepEqual(
      find([], { minTagProbability: 0.5 }).map(({ word }) => word),
      ['woman'],
    );
    assert.equal(find([], { maxTags: 1 }).length, 1);
    assert.deepEqual(find([], { maxTags: 0 }), []);
  });

  it('are none of the words to avoid, plurals included, and name no gender where none is wanted', () => {
    assert.deepEqual(
      find([], { avoidWords: ['Dogs'] }).map(({ word }) => word),
      ['woman'],
    );
    assert.deepEqual(
      find([], { genderNeutral: true }).map(({ word }) => word),
      ['dog'],
    );
  });
});
