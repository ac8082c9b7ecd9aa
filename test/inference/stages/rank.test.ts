import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { countRepeated, rankCandidates, toClipScore } from '../../../src/inference/stages/rank.js';

const calibration = { features: ['cosine'] as const, mean: [0], scale: [1], coefficients: [1], intercept: 0 };
const ranked = {
  features: ['rankScore'] as const,
  mean: [0],
  scale: [1],
  coefficients: [1],
  intercept: 0,
};
const margin = {
  features: ['candidateMargin'] as const,
  mean: [0],
  scale: [1],
  coefficients: [-1],
  intercept: 0,
};
const likely = { words: ['a', 'dog'], logProb: -3, length: 3, cosine: 0.1 };
const similar = { words: ['a', 'brown', 'dog'], logProb: -6, length: 4, cosine: 0.9 };
const repetition = { penalty: 0, stems: new Map<string, string>() };
const mean = { lengthPenalty: 1, repetition };
const imageFeatures = { familiarity: 0.5, conceptScore: 0.2 };

describe('candidates', () => {
  it('are in the order of the search when the rerank weight is 0', () => {
    const long = { words: ['a', 'big', 'brown', 'dog'], logProb: -4, length: 8, cosine: 0.1 };
    const first = (lengthPenalty: number) => {
      const [best] = rankCandidates(
        [long, likely],
        imageFeatures,
        { lengthPenalty, rerankWeight: 0, repetition, calibration },
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

  it('rank lower for each word that is said again, in whichever form', () => {
    const stems = new Map([
      ['plate', 'plate'],
      ['plates', 'plate'],
      ['food', 'food'],
    ]);
    const twice = {
      words: ['food', 'on', 'a', 'plate', 'of', 'plates'],
      logProb: -4,
      length: 4,
      cosine: 0.5,
    };
    const once = { words: ['food', 'on', 'a', 'plate'], logProb: -5, length: 4, cosine: 0.5 };
    assert.equal(countRepeated(twice.words, stems), 1);
    assert.equal(countRepeated(once.words, stems), 0);
    const best = (penalty: number) => {
      const rule = { lengthPenalty: 1, rerankWeight: 1, repetition: { penalty, stems }, calibration: ranked };
      return rankCandidates([twice, once], imageFeatures, rule, 1)[0]?.text;
    };
    // The search is surer of the first by 0.25 a word.
    assert.equal(best(0.2), 'Food on a plate of plates');
    assert.equal(best(0.3), 'Food on a plate');
  });

  it('have a confidence that falls in the order in which they are returned, where it is one of the rank score', () => {
    const beam = fc.record({
      words: fc.array(fc.constantFrom('a', 'dog', 'dogs', 'red', 'runs'), { minLength: 1, maxLength: 8 }),
      logProb: fc.double({ min: -30, max: 0, noNaN: true }),
      length: fc.integer({ min: 1, max: 20 }),
      cosine: fc.double({ min: -1, max: 1, noNaN: true }),
    });
    const stems = new Map([
      ['dog', 'dog'],
      ['dogs', 'dog'],
      ['red', 'red'],
    ]);
    fc.assert(
      fc.property(fc.array(beam, { maxLength: 10 }), (beams) => {
        const rule = {
          lengthPenalty: 1,
          rerankWeight: 3,
          repetition: { penalty: 0.3, stems },
          calibration: ranked,
        };
        const confidences = rankCandidates(beams, imageFeatures, rule, 10).map(
          ({ confidence }) => confidence,
        );
        assert.deepEqual(
          confidences,
          [...confidences].sort((a, b) => b - a),
        );
      }),
    );
  });

  it('have a CLIPScore of 2.5 times the cosine, and never below 0', () => {
    assert.equal(toClipScore(0.4), 1);
    assert.equal(toClipScore(-0.4), 0);
  });
});
