import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseCaptionOptions, parseScoreOptions } from '../../src/captioner/options.js';

const maxWords = 20;
const parse = (members: Record<string, unknown> = {}, texts: [string, string][] = []) =>
  parseCaptionOptions({ texts, members }, maxWords);

function refuses(members: Record<string, unknown>, detail: string): void {
  assert.throws(() => parse(members), { code: 'invalid_option', detail });
}

describe('the options of a caption', () => {
  it('have all their defaults where nothing is given', () => {
    assert.deepEqual(parse(), {
      candidates: 3,
      beamSize: 3,
      maxLength: maxWords,
      concepts: [],
      conceptsMode: 'replace',
      avoidWords: [],
      genderNeutral: false,
      minConfidence: 0,
      minTagProbability: 0.5,
      maxTags: 20,
      explain: false,
    });
  });

  it('are those that are given', () => {
    const given = {
      candidates: 2,
      beamSize: 5,
      maxLength: 10,
      concepts: ['fire hydrant', 'dog'],
      conceptsMode: 'extend',
      avoidWords: ['man', "o'clock", 'T-shirt'],
      genderNeutral: true,
      minConfidence: 0.25,
      minTagProbability: 0.75,
      maxTags: 5,
      explain: true,
    };
    assert.deepEqual(parse(given), given);
    const texts: [string, string][] = [
      ['candidates', '2'],
      ['minConfidence', '1e-1'],
      ['concepts', 'dog'],
      ['concepts', 'cat'],
      ['explain', 'True'],
    ];
    const { candidates, minConfidence, concepts, explain } = parse({}, texts);
    assert.deepEqual([candidates, minConfidence, concepts, explain], [2, 0.1, ['dog', 'cat'], true]);
  });

  it('search with at least 3 beams, and as many as there are candidates', () => {
    const beams = (candidates: number): number => parse({ candidates }).beamSize;
    assert.deepEqual([1, 3, 4, 10].map(beams), [3, 3, 4, 10]);
    assert.equal(parse({ candidates: 1, beamSize: 1 }).beamSize, 1);
  });

  it('are refused with fewer beams than candidates', () => {
    refuses({ candidates: 5, beamSize: 4 }, 'beamSize must be at least candidates, which is 5.');
    refuses({ beamSize: 2 }, 'beamSize must be at least candidates, which is 3.');
  });

  it('are refused with longer captions than the model writes', () => {
    assert.equal(parse({ maxLength: maxWords }).maxLength, maxWords);
    refuses(
      { maxLength: maxWords + 1 },
      'maxLength must be a whole number from 4 to 20, the longest that this model writes.',
    );
  });

  for (const [members, detail] of [
    [{ candidates: 11 }, 'candidates must be a whole number from 1 to 10.'],
    [{ candidates: 0 }, 'candidates must be a whole number from 1 to 10.'],
    [{ beamSize: 11 }, 'beamSize must be a whole number from 1 to 10.'],
    [{ maxLength: 3 }, 'maxLength must be a whole number from 4 to 100.'],
    [
      { concepts: Array<string>(101).fill('dog') },
      'concepts must be a list of at most 100, each a word or phrase of 1 to 40 characters.',
    ],
    [
      { concepts: [' '] },
      'concepts must be a list of at most 100, each a word or phrase of 1 to 40 characters.',
    ],
    [{ conceptsMode: 'add' }, 'conceptsMode must be replace or extend.'],
    [
      { avoidWords: ['red dog'] },
      'avoidWords must be a list of at most 50, each a single word of English letters and digits of 1 to 40 characters.',
    ],
    [
      { avoidWords: ['-'] },
      'avoidWords must be a list of at most 50, each a single word of English letters and digits of 1 to 40 characters.',
    ],
    [{ genderNeutral: 'yes' }, 'genderNeutral must be true or false.'],
    [{ minConfidence: 1.5 }, 'minConfidence must be a number from 0 to 1.'],
    [{ explain: 1 }, 'explain must be true or false.'],
  ] as const) {
    it(`are refused with ${JSON.stringify(members).slice(0, 40)}, and the detail says what is taken`, () => {
      refuses(members, detail);
    });
  }

  it('do not take an option of another call', () => {
    assert.throws(() => parse({ texts: ['a dog'] }), {
      code: 'invalid_option',
      detail: /^There is no option "texts"; /,
    });
  });
});

describe('the options of scores', () => {
  const detail = 'texts must be a list of 1 to 64, each a text of 1 to 500 characters.';

  it('are the texts, in their order', () => {
    assert.deepEqual(parseScoreOptions({ texts: [], members: { texts: ['b', 'a', 'b'] } }), {
      texts: ['b', 'a', 'b'],
    });
    assert.deepEqual(parseScoreOptions({ texts: [['texts', '7']], members: {} }), { texts: ['7'] });
  });

  it('are refused without a text, with too many, and with one that is empty or too long', () => {
    for (const texts of [
      undefined,
      [],
      Array<string>(65).fill('a'),
      [''],
      [' \n'],
      ['a'.repeat(501)],
      'a dog',
    ]) {
      const members = texts === undefined ? {} : { texts };
      assert.throws(() => parseScoreOptions({ texts: [], members }), { code: 'invalid_option', detail });
    }
  });
});
