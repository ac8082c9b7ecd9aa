import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { rankCandidates, toClipScore } from '../../../src/inference/stages/rank.js';

const calibration = { features: ['cosine'] as const, mean: [0], scale: [1], coefficients: [1], intercept: 0 };
const margin = {
  features: ['candidateMargin'] as const,
  mean: [0],
  scale: [1],
  coefficients: [-1],
  intercept: 0,
};
const likely = { words: ['a', 'dog'], logProb: -3, length: 3, cosine: 0.1 };
const similar = { words: ['a', 'brown', 'dog'], logProb: -6, length: 4, cosine: 0.9 };
const mean = { lengthPenalty: 1 };
const imageFeatures = { familiarity: 0.5, conceptScore: 0.2 };

describe('candidates', () => {
  it('are in the order of the search when the rerank weight is 0', () => {
    const long = { words: ['a', 'big', 'brown', 'dog'], logProb: -4, length: 8, cosine: 0.1 };
    const first = (lengthPenalty: number) => {
      const [best] = rankCandidates(
        [long, likely],
        imageFeatures,
        { lengthPenalty, rerankWeight: 0, calibration },
        2,
      );
      return [best?.text, best?.meanLogProb];
    };
    assert.deepEqual(first(0), ['A dog', -1]);
    assert.deepEqual(first(0.5), ['A big brown dog', -0.5]);
    assert.deepEqual(first(1), ['A big brown dog', -0.5]);
  });

  it('are re-ranked by their cosine to the image', () => {
    const ranked = rankCandidates(
      [likely, similar],
      imageFeatures,
      { ...mean, rerankWeight: 1, calibration },
      2,
    );
    assert.deepEqual(
      ranked.map(({ text }) => text),
      ['A brown dog', 'A dog'],
    );
  });

  it('are at most as many as requested, each with its margin to the best', () => {
    const [best] = rankCandidates(
      [likely, similar],
      imageFeatures,
      { ...mean, rerankWeight: 0, calibration: margin },
      1,
    );
    assert.equal(best?.confidence, 0.5);
    const [, second] = rankCandidates(
      [likely, similar],
      imageFeatures,
      { ...mean, rerankWeight: 0, calibration: margin },
      2,
    );
    assert.ok(Math.abs((second?.confidence ?? 0) - 1 / (1 + Math.exp(0.5))) < 1e-12);
  });

  it('have a CLIPScore of 2.5 times the cosine, and never below 0', () => {
    assert.equal(toClipScore(0.4), 1);
    assert.equal(toClipScore(-0.4), 0);
  });
});
