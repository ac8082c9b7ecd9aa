import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clipScore, rankCandidates } from '../../src/runtime/ranking.js';

const calibration = { features: ['cosine'] as const, mean: [0], scale: [1], coefficients: [1], intercept: 0 };
const margin = {
  features: ['candidateMargin'] as const,
  mean: [0],
  scale: [1],
  coefficients: [-1],
  intercept: 0,
};
const likely = { words: ['a', 'dog'], logProb: -3, length: 3, cosine: 0.1 };
const fitting = { words: ['a', 'brown', 'dog'], logProb: -6, length: 4, cosine: 0.9 };
const mean = { lengthPenalty: 1 };
const evidence = { familiarity: 0.5, conceptScore: 0.2 };

describe('candidates', () => {
  it('are ordered as the search orders them when the bundle gives the image no weight', () => {
    const long = { words: ['a', 'big', 'brown', 'dog'], logProb: -4, length: 8, cosine: 0.1 };
    const first = (lengthPenalty: number) => {
      const [best] = rankCandidates(
        [long, likely],
        evidence,
        { lengthPenalty, rerankWeight: 0, calibration },
        2,
      );
      return [best?.text, best?.meanLogProb];
    };
    assert.deepEqual(first(0), ['A dog', -1]);
    assert.deepEqual(first(0.5), ['A big brown dog', -0.5]);
    assert.deepEqual(first(1), ['A big brown dog', -0.5]);
  });

  it('are re-ranked by how well they fit the image', () => {
    const ranked = rankCandidates([likely, fitting], evidence, { ...mean, rerankWeight: 1, calibration }, 2);
    assert.deepEqual(
      ranked.map(({ text }) => text),
      ['A brown dog', 'A dog'],
    );
  });

  it('are as many as were asked for, with the margin to the best of all', () => {
    const [best] = rankCandidates(
      [likely, fitting],
      evidence,
      { ...mean, rerankWeight: 0, calibration: margin },
      1,
    );
    assert.equal(best?.confidence, 0.5);
    const [, second] = rankCandidates(
      [likely, fitting],
      evidence,
      { ...mean, rerankWeight: 0, calibration: margin },
      2,
    );
    assert.ok(Math.abs((second?.confidence ?? 0) - 1 / (1 + Math.exp(0.5))) < 1e-12);
  });

  it('carry the CLIPScore of Hessel et al.: two and a half times the cosine, never negative', () => {
    assert.equal(clipScore(0.4), 1);
    assert.equal(clipScore(-0.4), 0);
  });
});
