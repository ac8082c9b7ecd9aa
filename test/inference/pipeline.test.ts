import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CaptionOutcome, ItemAnswer } from '../../src/inference/messages.js';
import { exampleManifest } from './example-bundle.js';
import {
  notANumber,
  type Toy,
  createToyItem,
  createToyPipeline,
  createToyScoring,
  unencodable,
} from './toy-graphs.js';

function outcome(answer: ItemAnswer<CaptionOutcome> | undefined): CaptionOutcome {
  assert.ok(answer?.ok === true, JSON.stringify(answer));
  return answer.outcome;
}

function texts(answer: ItemAnswer<CaptionOutcome> | undefined): string[] {
  return outcome(answer).candidates.map(({ text }) => text);
}

describe('captioning', () => {
  it('gives each image of a batch its own candidates, best first', async () => {
    const answers = await createToyPipeline().captionBatch([
      createToyItem(2),
      createToyItem(3),
      createToyItem(4),
    ]);
    assert.deepEqual(answers.map(texts), [
      ['A dog', 'A dogs'],
      ['A dogs', 'A dog'],
      ['A dog', 'A dogs'],
    ]);
    const [best, second] = outcome(answers[1]).candidates;
    assert.equal(best?.logProb, -3);
    assert.equal(best.meanLogProb, -1);
    assert.equal(best.clipScore, 2.5); // The embedding of "a dogs" has the direction of odd images.
    assert.equal(second?.clipScore, 0);
    assert.ok(best.confidence > second.confidence);
  });

  it('gives concepts with their scores, and patches only with the option explain', async () => {
    const [plain, explained] = await createToyPipeline().captionBatch([
      createToyItem(2),
      createToyItem(10, { explain: true }),
    ]);
    assert.deepEqual(outcome(plain).concepts, [
      { word: 'tree', score: 0.75 },
      { word: 'cat', score: 0.25 },
    ]);
    assert.equal(outcome(plain).gridSize, undefined);
    assert.deepEqual(outcome(explained).gridSize, { rows: 2, columns: 2 });
    // These are the cosines of each patch with the concept's own embedding: tree is [0.6, 0.8], cat [0, 1].
    assert.deepEqual(
      outcome(explained).concepts.map(({ patches }) => patches?.map((cosine) => Number(cosine.toFixed(6)))),
      [
        [0.6, 0.8, -0.6, 1],
        [0, 1, 0, 0.8],
      ],
    );
  });

  it('ignores the concept score for the confidence when a client replaces the vocabulary', async () => {
    const confidence = {
      features: ['conceptScore' as const],
      mean: [0.5],
      scale: [1],
      coefficients: [4],
      intercept: 0,
      error: {},
    };
    const calibration = { ...exampleManifest.calibration, confidence };
    const { captionBatch } = createToyPipeline({ ...exampleManifest, calibration });
    const concepts = ['owl', 'bee'];
    const answers = await captionBatch([
      createToyItem(2),
      createToyItem(2, { concepts, conceptsMode: 'extend' }),
      createToyItem(2, { concepts }),
    ]);
    const found = answers.map((answer) => outcome(answer).candidates[0]?.confidence.toFixed(6));
    assert.deepEqual(found, ['0.731059', '0.731059', '0.500000']);
  });

  it('boosts the concepts that a client named and the image shows, if the bundle has a boost', async () => {
    const named = { minCosine: 0.5, bias: 2 };
    const naming = createToyPipeline({
      ...exampleManifest,
      concepts: { ...exampleManifest.concepts, named },
    });
    // The embedding of "dogs" has the direction of odd images.
    const items = [3, 2].map((value) => createToyItem(value, { concepts: ['dogs'] }));
    const logProbs = async ({ captionBatch }: Toy): Promise<Record<string, number>[]> => {
      const answers = await captionBatch(items);
      return answers.map((answer) =>
        Object.fromEntries(outcome(answer).candidates.map(({ text, logProb }) => [text, logProb])),
      );
    };
    const [odd, even] = [
      { 'A dogs': -3, 'A dog': -4 },
      { 'A dog': -3, 'A dogs': -4 },
    ];
    assert.deepEqual(await logProbs(naming), [{ ...odd, 'A dogs': -1 }, even]);
    assert.deepEqual(await logProbs(createToyPipeline()), [odd, even]);
  });

  it('runs detection once for each vocabulary and the other stages once, and keeps the images in order', async () => {
    const { captionBatch, encoderRuns, mixupRuns, maxLengths } = createToyPipeline();
    const own = { concepts: ['owl', 'bee', 'fox', 'hen'] };
    const answers = await captionBatch([
      createToyItem(2),
      createToyItem(3, own),
      createToyItem(4),
      createToyItem(5, own),
    ]);
    assert.deepEqual([encoderRuns, mixupRuns], [[4], [2, 2]]);
    assert.deepEqual(
      maxLengths.map(({ length }) => length),
      [4],
      'the decoder runs once, with all images',
    );
    assert.deepEqual(
      answers.map((answer) => outcome(answer).concepts[0]?.word),
      ['tree', 'hen', 'tree', 'hen'],
    );
    assert.deepEqual(
      answers.map((answer) => texts(answer)[0]),
      ['A dog', 'A dogs', 'A dog', 'A dogs'],
    );
  });

  it('gives no concept that is only padding of the vocabulary', async () => {
    const [answer] = await createToyPipeline().captionBatch([createToyItem(2, { concepts: ['owl'] })]);
    assert.deepEqual(outcome(answer).concepts, [{ word: 'owl', score: 0.25 }]);
  });

  it('gives no sentence twice, and none with an avoided word', async () => {
    const [many, avoiding] = await createToyPipeline().captionBatch([
      createToyItem(2, { candidates: 4, beamSize: 4 }),
      createToyItem(2, { candidates: 4, beamSize: 4, avoidWords: ['dogs'] }),
    ]);
    assert.deepEqual(texts(many), ['A dog', 'A dogs']);
    assert.deepEqual(texts(avoiding), ['A dog']);
  });

  it('gives as many candidates as requested', async () => {
    const [answer] = await createToyPipeline().captionBatch([createToyItem(2, { candidates: 1 })]);
    assert.deepEqual(texts(answer), ['A dog']);
  });

  it('passes the maximum length of each image to the decoder', async () => {
    const { captionBatch, maxLengths } = createToyPipeline();
    await captionBatch([createToyItem(2, { maxLength: 4 }), createToyItem(3, { maxLength: 5 })]);
    assert.deepEqual(maxLengths, [[4, 5]]);
  });

  it('fails only the image on which a graph fails', async () => {
    const answers = await createToyPipeline().captionBatch([
      createToyItem(2),
      createToyItem(unencodable),
      createToyItem(3),
    ]);
    assert.deepEqual(texts(answers[0]), ['A dog', 'A dogs']);
    assert.deepEqual(answers[1], {
      ok: false,
      code: 'internal',
      message: 'the toy encoder cannot encode this',
    });
    assert.deepEqual(texts(answers[2]), ['A dogs', 'A dog']);
  });

  it('fails an image whose scores are not numbers', async () => {
    const answers = await createToyPipeline().captionBatch([createToyItem(notANumber), createToyItem(2)]);
    assert.deepEqual(
      answers.map(({ ok }) => ok),
      [false, true],
    );
  });

  it('refuses pixels of another image size, and phrases as words to avoid', async () => {
    const answers = await createToyPipeline().captionBatch([
      { ...createToyItem(2), pixels: new Uint8Array(23) },
      createToyItem(2, { avoidWords: ['hot dog'] }),
      createToyItem(2),
    ]);
    assert.deepEqual(
      answers.map((answer) => (answer.ok ? 'ok' : answer.code)),
      ['internal', 'invalid_option', 'ok'],
    );
    assert.deepEqual(await createToyPipeline().captionBatch([]), []);
  });

  it('fails an image when every sentence contains an avoided word', async () => {
    const [answer] = await createToyPipeline().captionBatch([createToyItem(2, { avoidWords: ['dog'] })]);
    assert.deepEqual(answer, { ok: false, code: 'internal', message: 'the search ended without a sentence' });
  });
});

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
    const answers = await createToyPipeline(calibrated).scoreBatch([
      createToyScoring(2, 'a dog', 'dogs'),
      createToyScoring(3, 'dogs'),
    ]);
    const [even, odd] = answers.map((answer) => (answer.ok ? answer.outcome.scores : []));
    const sigmoid = (logit: number) => 1 / (1 + Math.exp(-logit));
    // The centroid has the direction of even images, so an even image is familiar and an odd one is not.
    assert.deepEqual(even, [
      { cosine: 1, clipScore: 2.5, matchProbability: sigmoid(1 + 4 + 1), isTruncated: false },
      { cosine: 0, clipScore: 0, matchProbability: sigmoid(1 - 4 + 1), isTruncated: false },
    ]);
    assert.deepEqual(odd, [
      { cosine: 1, clipScore: 2.5, matchProbability: sigmoid(1 + 4), isTruncated: false },
    ]);
  });

  it('gives no match probability without a calibration for it', async () => {
    const [answer] = await createToyPipeline().scoreBatch([createToyScoring(2, 'a dog')]);
    assert.ok(answer?.ok && answer.outcome.scores[0]?.matchProbability === undefined);
  });

  it('marks the texts that were truncated', async () => {
    const [answer] = await createToyPipeline().scoreBatch([
      createToyScoring(2, 'dog', 'a very, very, very long dog'),
    ]);
    assert.deepEqual(answer?.ok && answer.outcome.scores.map(({ isTruncated }) => isTruncated), [
      false,
      true,
    ]);
  });

  it('fails only the images that cause an error', async () => {
    const answers = await createToyPipeline().scoreBatch([
      createToyScoring(2, 'dog'),
      createToyScoring(unencodable, 'dog'),
      createToyScoring(notANumber, 'dog'),
      { ...createToyScoring(2, 'dog'), pixels: new Uint8Array(3) },
      createToyScoring(3, 'dog'),
    ]);
    assert.deepEqual(
      answers.map(({ ok }) => ok),
      [true, false, false, false, true],
    );
  });
});
