import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { exampleManifest } from './example-bundle.js';
import { notANumber, toyPipeline, toyScoring, unencodable } from './toy-graphs.js';

const calibrated = {
  ...exampleManifest,
  calibration: {
    ...exampleManifest.calibration,
    matchProbability: {
      features: ['cosine' as const, 'familiarity' as const],
      mean: [0.5, 0],
      scale: [0.25, 1],
      coefficients: [2, 1],
      intercept: 1,
      error: {},
    },
  },
};

describe('scoring', () => {
  it('gives each text of each image its own scores, in order', async () => {
    const answers = await toyPipeline(calibrated).scoreBatch([
      toyScoring(2, 'a dog', 'dogs'),
      toyScoring(3, 'dogs'),
    ]);
    const [even, odd] = answers.map((answer) => (answer.ok ? answer.outcome.scores : []));
    const sigmoid = (logit: number) => 1 / (1 + Math.exp(-logit));
    // The centroid points where even images do, so an even image is familiar and an odd one is not.
    assert.deepEqual(even, [
      { cosine: 1, clipScore: 2.5, matchProbability: sigmoid(1 + 4 + 1), isCut: false },
      { cosine: 0, clipScore: 0, matchProbability: sigmoid(1 - 4 + 1), isCut: false },
    ]);
    assert.deepEqual(odd, [{ cosine: 1, clipScore: 2.5, matchProbability: sigmoid(1 + 4), isCut: false }]);
  });

  it('gives no probability without a calibration for it', async () => {
    const [answer] = await toyPipeline().scoreBatch([toyScoring(2, 'a dog')]);
    assert.ok(answer?.ok && answer.outcome.scores[0]?.matchProbability === undefined);
  });

  it('says which texts were cut', async () => {
    const [answer] = await toyPipeline().scoreBatch([toyScoring(2, 'dog', 'a very, very, very long dog')]);
    assert.deepEqual(answer?.ok && answer.outcome.scores.map(({ isCut }) => isCut), [false, true]);
  });

  it('lets an image that fails fail alone', async () => {
    const answers = await toyPipeline().scoreBatch([
      toyScoring(2, 'dog'),
      toyScoring(unencodable, 'dog'),
      toyScoring(notANumber, 'dog'),
      { ...toyScoring(2, 'dog'), pixels: new Uint8Array(3) },
      toyScoring(3, 'dog'),
    ]);
    assert.deepEqual(
      answers.map(({ ok }) => ok),
      [true, false, false, false, true],
    );
  });
});
