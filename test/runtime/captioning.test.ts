import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CaptionOutcome, ItemAnswer } from '../../src/runtime/messages.js';
import { exampleManifest } from './example-bundle.js';
import { notANumber, type Toy, toyItem, toyPipeline, unencodable } from './toy-graphs.js';

function outcome(answer: ItemAnswer<CaptionOutcome> | undefined): CaptionOutcome {
  assert.ok(answer?.ok === true, JSON.stringify(answer));
  return answer.outcome;
}

function texts(answer: ItemAnswer<CaptionOutcome> | undefined): string[] {
  return outcome(answer).candidates.map(({ text }) => text);
}

describe('captioning', () => {
  it('gives each image of a batch its own candidates, best first', async () => {
    const answers = await toyPipeline().captionBatch([toyItem(2), toyItem(3), toyItem(4)]);
    assert.deepEqual(answers.map(texts), [
      ['A dog', 'A dogs'],
      ['A dogs', 'A dog'],
      ['A dog', 'A dogs'],
    ]);
    const [best, second] = outcome(answers[1]).candidates;
    assert.equal(best?.logProb, -3);
    assert.equal(best.meanLogProb, -1);
    assert.equal(best.clipScore, 2.5); // "a dogs" points where odd images do
    assert.equal(second?.clipScore, 0);
    assert.ok(best.confidence > second.confidence);
  });

  it('tells concepts with their scores, and patches only to those who ask', async () => {
    const [plain, explained] = await toyPipeline().captionBatch([toyItem(2), toyItem(10, { explain: true })]);
    assert.deepEqual(outcome(plain).concepts, [
      { word: 'tree', score: 0.75 },
      { word: 'cat', score: 0.25 },
    ]);
    assert.equal(outcome(plain).gridSize, undefined);
    assert.deepEqual(outcome(explained).gridSize, { rows: 2, columns: 2 });
    // Of each patch with the concept's own embedding: tree is [0.6, 0.8], cat [0, 1].
    assert.deepEqual(
      outcome(explained).concepts.map(({ patches }) => patches?.map((cosine) => Number(cosine.toFixed(6)))),
      [
        [0.6, 0.8, -0.6, 1],
        [0, 1, 0, 0.8],
      ],
    );
  });

  it("does not take a share among a client's words for one among the bundle's", async () => {
    const confidence = {
      features: ['conceptScore' as const],
      mean: [0.5],
      scale: [1],
      coefficients: [4],
      intercept: 0,
      error: {},
    };
    const calibration = { ...exampleManifest.calibration, confidence };
    const { captionBatch } = toyPipeline({ ...exampleManifest, calibration });
    const concepts = ['owl', 'bee'];
    const answers = await captionBatch([
      toyItem(2),
      toyItem(2, { concepts, conceptsMode: 'extend' }),
      toyItem(2, { concepts }),
    ]);
    const found = answers.map((answer) => outcome(answer).candidates[0]?.confidence.toFixed(6));
    assert.deepEqual(found, ['0.731059', '0.731059', '0.500000']);
  });

  it('makes the words a client named likelier where the image shows them, if the bundle says how much', async () => {
    const named = { minCosine: 0.5, bias: 2 };
    const naming = toyPipeline({ ...exampleManifest, concepts: { ...exampleManifest.concepts, named } });
    // "dogs" points to odd images.
    const items = [3, 2].map((value) => toyItem(value, { concepts: ['dogs'] }));
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
    assert.deepEqual(await logProbs(toyPipeline()), [odd, even]);
  });

  it('runs detection once for each vocabulary, all else once, and keeps the images in order', async () => {
    const { captionBatch, encoderRuns, mixupRuns, maxLengths } = toyPipeline();
    const own = { concepts: ['owl', 'bee', 'fox', 'hen'] };
    const answers = await captionBatch([toyItem(2), toyItem(3, own), toyItem(4), toyItem(5, own)]);
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

  it('tells no concept that only fills the vocabulary up', async () => {
    const [answer] = await toyPipeline().captionBatch([toyItem(2, { concepts: ['owl'] })]);
    assert.deepEqual(outcome(answer).concepts, [{ word: 'owl', score: 0.25 }]);
  });

  it('gives no sentence twice, and none with an avoided word', async () => {
    const [many, avoiding] = await toyPipeline().captionBatch([
      toyItem(2, { candidates: 4, beamSize: 4 }),
      toyItem(2, { candidates: 4, beamSize: 4, avoidWords: ['dogs'] }),
    ]);
    assert.deepEqual(texts(many), ['A dog', 'A dogs']);
    assert.deepEqual(texts(avoiding), ['A dog']);
  });

  it('gives as many candidates as were asked for', async () => {
    const [answer] = await toyPipeline().captionBatch([toyItem(2, { candidates: 1 })]);
    assert.deepEqual(texts(answer), ['A dog']);
  });

  it('hands the longest length of each image to the decoder', async () => {
    const { captionBatch, maxLengths } = toyPipeline();
    await captionBatch([toyItem(2, { maxLength: 4 }), toyItem(3, { maxLength: 5 })]);
    assert.deepEqual(maxLengths, [[4, 5]]);
  });

  it('fails the one image on which a graph fails', async () => {
    const answers = await toyPipeline().captionBatch([toyItem(2), toyItem(unencodable), toyItem(3)]);
    assert.deepEqual(texts(answers[0]), ['A dog', 'A dogs']);
    assert.deepEqual(answers[1], {
      ok: false,
      code: 'internal',
      message: 'the toy encoder cannot encode this',
    });
    assert.deepEqual(texts(answers[2]), ['A dogs', 'A dog']);
  });

  it('fails an image whose scores are no numbers', async () => {
    const answers = await toyPipeline().captionBatch([toyItem(notANumber), toyItem(2)]);
    assert.deepEqual(
      answers.map(({ ok }) => ok),
      [false, true],
    );
  });

  it('refuses what is no image of the bundle, and phrases where words are taken', async () => {
    const answers = await toyPipeline().captionBatch([
      { ...toyItem(2), pixels: new Uint8Array(23) },
      toyItem(2, { avoidWords: ['hot dog'] }),
      toyItem(2),
    ]);
    assert.deepEqual(
      answers.map((answer) => (answer.ok ? 'ok' : answer.code)),
      ['internal', 'invalid_option', 'ok'],
    );
    assert.deepEqual(await toyPipeline().captionBatch([]), []);
  });

  it('fails an image for which every sentence has an avoided word', async () => {
    const [answer] = await toyPipeline().captionBatch([toyItem(2, { avoidWords: ['dog'] })]);
    assert.deepEqual(answer, { ok: false, code: 'internal', message: 'the search ended without a sentence' });
  });
});
