import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Features, predictProbability } from '../../src/inference/confidence.js';

const features: Features = {
  cosine: 0.6,
  meanLogProb: -1.5,
  logProb: -9,
  length: 6,
  familiarity: 0.4,
  conceptScore: 0.2,
  rankScore: 0,
  candidateMargin: 0,
};

describe('confidence', () => {
  it('is the logistic function of the standardised features that the bundle names', () => {
    const calibration = {
      features: ['cosine', 'meanLogProb'] as const,
      mean: [0.5, -1],
      scale: [0.1, 0.5],
      coefficients: [1, 2],
      intercept: 0.3,
    };
    // 0.3 + 1 · (0.6 − 0.5) / 0.1 + 2 · (−1.5 + 1) / 0.5 = −0.7
    assert.ok(Math.abs(predictProbability(calibration, features) - 1 / (1 + Math.exp(0.7))) < 1e-12);
  });

  it('stays between 0 and 1 for features far from those it was fitted on', () => {
    const steep = {
      features: ['cosine'] as const,
      mean: [0],
      scale: [1e-6],
      coefficients: [1e3],
      intercept: 0,
    };
    assert.equal(predictProbability(steep, features), 1);
    assert.equal(predictProbability(steep, { ...features, cosine: -1 }), 0);
  });

  it('throws when the arrays of the calibration differ in length', () => {
    const broken = { features: ['cosine'] as const, mean: [0], scale: [], coefficients: [1], intercept: 0 };
    assert.throws(() => predictProbability(broken, features), /cosine/);
  });
});
