import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { answerKey, answerSize, type ImageAnswer, type Question } from '../../src/captioner/cached-answer.js';
import type { ModelOptions } from '../../src/captioner/options.js';
import type { WorkOutcome } from '../../src/inference/messages.js';
import type { ServedModel } from '../../src/scheduler/model.js';
import { exampleFacts } from '../inference/example-bundle.js';
import { fakeModel } from '../scheduler/fake-model.js';
import { image } from '../scheduler/test-engine.js';

const model: ServedModel = fakeModel();
const { options: defaults } = image(1);
const captionOf = (options: Partial<ModelOptions> = {}): Question => ({
  kind: 'caption',
  options: { ...defaults, ...options },
});

describe('the key of an answer', () => {
  const options = fc.record({
    candidates: fc.integer({ min: 1, max: 10 }),
    beamSize: fc.integer({ min: 1, max: 10 }),
    maxLength: fc.integer({ min: 4, max: 20 }),
    concepts: fc.array(fc.string({ maxLength: 3 }), { maxLength: 3 }),
    conceptsMode: fc.constantFrom<'replace' | 'extend'>('replace', 'extend'),
    avoidWords: fc.array(fc.constantFrom('man', 'dog', 'Dog'), { maxLength: 3 }),
    genderNeutral: fc.boolean(),
    minTagProbability: fc.constantFrom(0, 0.5),
    maxTags: fc.constantFrom(0, 20),
    explain: fc.boolean(),
  });
  const request = fc.record({ bytes: fc.uint8Array({ minLength: 3, maxLength: 6 }), options });
  interface Request {
    readonly bytes: Uint8Array;
    readonly options: ModelOptions;
  }
  /** What the words of options mean, in the simplest way that is right. */
  const meaning = ({ bytes, options: { avoidWords, conceptsMode, ...others } }: Request): unknown => ({
    ...others,
    bytes: [...bytes],
    avoidWords: new Set(avoidWords.map((word) => word.toLowerCase())),
    conceptsMode: others.concepts.length > 0 && conceptsMode,
  });
  const keyOf = ({ bytes, options: asked }: Request): string =>
    answerKey(model, 'a client', bytes, { kind: 'caption', options: asked });

  it('is the same exactly for bytes and options that mean the same', () => {
    fc.assert(
      fc.property(request, request, fc.boolean(), (one, other, isClose) => {
        // Two arbitrary requests are hardly ever alike: often they differ in one option or none.
        const second = isClose
          ? { ...one, options: { ...one.options, avoidWords: other.options.avoidWords } }
          : other;
        let same = true;
        try {
          assert.deepEqual(meaning(one), meaning(second));
        } catch {
          same = false;
        }
        assert.equal(keyOf(one) === keyOf(second), same);
      }),
      { numRuns: 500 },
    );
  });

  it('does not depend on the order of the options', () => {
    fc.assert(
      fc.property(request, ({ bytes, options: asked }) => {
        const { candidates, ...others } = asked;
        const inOrder = { candidates, ...others };
        const reversed = { ...others, candidates };
        assert.equal(keyOf({ bytes, options: inOrder }), keyOf({ bytes, options: reversed }));
      }),
    );
  });

  it('tells every option apart, and an option from the bytes of the image', () => {
    const unlike: Partial<ModelOptions>[] = [
      {},
      { candidates: 2 },
      { beamSize: 4 },
      { maxLength: 10 },
      { concepts: ['dog'] },
      { concepts: ['dog'], conceptsMode: 'extend' },
      { avoidWords: ['man'] },
      { genderNeutral: true },
      { explain: true },
    ];
    const keys = unlike.map((each) => answerKey(model, 'a client', Buffer.from('image'), captionOf(each)));
    assert.equal(new Set(keys).size, unlike.length);
    assert.notEqual(
      answerKey(model, 'a client', Buffer.from('1'), { kind: 'score', texts: ['a'] }),
      answerKey(model, 'a client', Buffer.from(''), { kind: 'score', texts: ['a1'] }),
    );
  });

  it('tells clients apart: whether a result is kept would tell one what another sent', () => {
    const key = (client: string) => answerKey(model, client, Buffer.from('image'), captionOf());
    assert.equal(key('0'), key('0'));
    assert.notEqual(key('0'), key('1'));
  });

  it('tells texts to score apart, their order and case too, and a score from a caption', () => {
    const questions: Question[] = [
      { kind: 'score', texts: ['a dog', 'a cat'] },
      { kind: 'score', texts: ['a cat', 'a dog'] },
      { kind: 'score', texts: ['a dog'] },
      { kind: 'score', texts: ['A dog', 'a cat'] },
      captionOf(),
    ];
    const keys = questions.map((question) => answerKey(model, 'a client', Buffer.from('image'), question));
    assert.equal(new Set(keys).size, questions.length);
  });

  it('differs from model to model, and not from one start of a model to the next', () => {
    const models: ServedModel[] = [
      model,
      { ...model, bundle: { ...exampleFacts, digest: 'another' } },
      { ...model, provider: 'cuda' },
      { ...model, precision: 'int8' },
      { ...model, placement: { ...model.placement, decoder: 'cuda' } },
    ];
    const key = (each: ServedModel): string => answerKey(each, 'a client', Buffer.from('image'), captionOf());
    assert.equal(new Set(models.map(key)).size, models.length);
    assert.equal(key({ ...model, servingSince: 5 }), key(model));
  });
});

describe('the size of an answer', () => {
  const sizeOf = (outcome: WorkOutcome): number => {
    const facts = { width: 1, height: 1, format: 'jpeg' } as const;
    const answer: ImageAnswer = { outcome, image: facts, queueMs: 1, decodeMs: 1 };
    return answerSize(answer);
  };
  const timing = { encodeMs: 1, mixupMs: 1, captionMs: 1, scoreMs: 1 };
  const candidate = { text: 'A dog', confidence: 0.5, clipScore: 1, logProb: -1, meanLogProb: -1 };
  const explained = (patches: number): WorkOutcome => ({
    candidates: [],
    concepts: [{ word: 'dog', score: 1, patches: Array<number>(patches).fill(0.5) }],
    timing,
  });
  const scored = (texts: number): WorkOutcome => {
    const score = { cosine: 0.1, clipScore: 0.25, isTruncated: false };
    return { scores: Array(texts).fill(score), timing };
  };

  it('is one for a caption as most are', () => {
    assert.equal(sizeOf({ candidates: [candidate, candidate, candidate], concepts: [], timing }), 1);
    assert.equal(sizeOf(explained(0)), 1);
  });

  it('is that of several for a caption with many candidates, and for scores of many texts', () => {
    assert.equal(sizeOf({ candidates: Array(10).fill(candidate), concepts: [], timing }), 2);
    assert.deepEqual([1, 4, 5, 64].map(scored).map(sizeOf), [1, 1, 2, 9]);
  });

  it('is for an explained caption that of as many as it takes the memory of', () => {
    assert.equal(sizeOf(explained(600)), 9);
    assert.equal(sizeOf(explained(1000)), 14);
  });
});
