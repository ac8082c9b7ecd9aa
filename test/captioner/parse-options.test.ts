import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Type } from 'typebox';
import { createOptionParser, type RawOptions } from '../../src/captioner/options.js';

const parse = createOptionParser(
  Type.Object(
    {
      count: Type.Integer({ minimum: 1, maximum: 10, default: 3 }),
      ratio: Type.Optional(Type.Number({ minimum: -1, maximum: 1 })),
      isLoud: Type.Boolean({ default: false }),
      mode: Type.Enum(['slow', 'fast'], { type: 'string', default: 'slow' }),
      words: Type.Array(Type.String({ minLength: 1, maxLength: 5, description: 'a word' }), {
        maxItems: 2,
        default: [],
      }),
      name: Type.Optional(Type.String({ minLength: 2, maxLength: 4, description: 'a name' })),
    },
    { additionalProperties: false },
  ),
);
const defaults = { count: 3, isLoud: false, mode: 'slow', words: [] };

const ofTexts = (...texts: [string, string][]): RawOptions => ({ texts, members: {} });
const ofMembers = (members: Record<string, unknown>): RawOptions => ({ texts: [], members });

function refuses(raw: RawOptions, detail: string): void {
  assert.throws(() => parse(raw), { name: 'ServiceError', code: 'invalid_option', detail });
}

describe('options', () => {
  it('that are not given have their defaults, and none where there is no default', () => {
    assert.deepEqual(parse(ofMembers({})), defaults);
  });

  it('are read from texts as what their type is', () => {
    assert.deepEqual(
      parse(ofTexts(['count', '7'], ['ratio', '-0.5'], ['isLoud', 'true'], ['mode', 'fast'], ['name', '42'])),
      { ...defaults, count: 7, ratio: -0.5, isLoud: true, mode: 'fast', name: '42' },
    );
  });

  it('are read from members of JSON as they are', () => {
    const members = { count: 7, ratio: 0, isLoud: true, mode: 'fast', words: ['a', 'b'], name: 'Anne' };
    assert.deepEqual(parse(ofMembers(members)), members);
  });

  it('that are lists have all their texts in order, one text too', () => {
    assert.deepEqual(parse(ofTexts(['words', 'b'], ['words', 'a'])).words, ['b', 'a']);
    assert.deepEqual(parse(ofTexts(['words', '1'])).words, ['1']);
  });

  it('that are numbers may be written as JSON writes them', () => {
    for (const [text, value] of [
      ['1e-7', 1e-7],
      ['1E0', 1],
      ['-1.0', -1],
      ['0.5e+0', 0.5],
    ] as const) {
      assert.equal(parse(ofTexts(['ratio', text])).ratio, value);
    }
    fc.assert(
      fc.property(fc.double({ min: -1, max: 1, noNaN: true }), (ratio) => {
        assert.equal(parse(ofTexts(['ratio', JSON.stringify(ratio)])).ratio, Number(JSON.stringify(ratio)));
      }),
    );
  });

  it('that are true or false may be written as Python does', () => {
    for (const text of ['true', 'True', 'TRUE']) assert.equal(parse(ofTexts(['isLoud', text])).isLoud, true);
    for (const text of ['false', 'False']) assert.equal(parse(ofTexts(['isLoud', text])).isLoud, false);
  });

  it('may be given twice with one value', () => {
    assert.equal(parse(ofTexts(['count', '7'], ['count', '7'])).count, 7);
    assert.equal(parse({ texts: [['count', '7']], members: { count: 7 } }).count, 7);
    assert.deepEqual(parse({ texts: [['words', 'a']], members: { words: ['a'] } }).words, ['a']);
  });

  it('with two values are refused', () => {
    refuses(ofTexts(['count', '7'], ['count', '8']), 'count is given with two different values.');
    refuses({ texts: [['count', '7']], members: { count: 8 } }, 'count is given with two different values.');
    refuses(
      { texts: [['words', 'a']], members: { words: ['b'] } },
      'words is given with two different values.',
    );
  });

  it('that there are not are refused, with those that there are', () => {
    const known = 'there are count, ratio, isLoud, mode, words, name.';
    refuses(ofTexts(['colour', 'red']), `There is no option "colour"; ${known}`);
    refuses(ofMembers({ colour: 'red' }), `There is no option "colour"; ${known}`);
    refuses(ofMembers({ ['x'.repeat(1000)]: 1 }), `There is no option "${'x'.repeat(40)}"; ${known}`);
  });

  it('by the names of what every object has are refused like others', () => {
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      const members: unknown = JSON.parse(`{"${name}": {"count": 1}}`);
      assert.ok(typeof members === 'object' && members !== null);
      assert.throws(() => parse(ofMembers({ ...Object.fromEntries(Object.entries(members)) })), {
        code: 'invalid_option',
      });
      assert.throws(() => parse(ofTexts([name, '1'])), { code: 'invalid_option' });
    }
  });

  const whole = 'count must be a whole number from 1 to 10.';
  const ratio = 'ratio must be a number from -1 to 1.';
  const words = 'words must be a list of at most 2, each a word of 1 to 5 characters.';
  const name = 'name must be a name of 2 to 4 characters.';
  for (const [what, raw, detail] of [
    ['a whole number below its range', ofTexts(['count', '0']), whole],
    ['a whole number above its range', ofMembers({ count: 11 }), whole],
    ['a whole number that is none', ofTexts(['count', '2.5']), whole],
    ['a whole number as a text in JSON', ofMembers({ count: '3' }), whole],
    ['a whole number that is empty', ofTexts(['count', '']), whole],
    ['a whole number in hexadecimal digits', ofTexts(['count', '0x5']), whole],
    ['a whole number with a space', ofTexts(['count', ' 5']), whole],
    ['null', ofMembers({ count: null }), whole],
    ['a number above its range', ofTexts(['ratio', '1.01']), ratio],
    ['a number that is infinite', ofTexts(['ratio', '1e999']), ratio],
    ['a number that is none', ofTexts(['ratio', 'NaN']), ratio],
    ['neither true nor false', ofTexts(['isLoud', 'yes']), 'isLoud must be true or false.'],
    ['a number for true', ofMembers({ isLoud: 1 }), 'isLoud must be true or false.'],
    ['none of the words there are', ofTexts(['mode', 'Fast']), 'mode must be slow or fast.'],
    ['a list that is too long', ofTexts(['words', 'a'], ['words', 'b'], ['words', 'c']), words],
    ['a list with an item that is too long', ofMembers({ words: ['a', 'abcdef'] }), words],
    ['a list with an item that is empty', ofTexts(['words', '']), words],
    ['a list with an item of another type', ofMembers({ words: [7] }), words],
    ['no list', ofMembers({ words: 'a' }), words],
    ['a text that is too short', ofTexts(['name', 'A']), name],
    ['a text that is too long', ofTexts(['name', 'Annette']), name],
    ['an object', ofMembers({ name: {} }), name],
  ] as const) {
    it(`of ${what} are refused, with what the option takes`, () => {
      refuses(raw, detail);
    });
  }

  it('that are missing and have no default are refused, with what the option takes', () => {
    const parseTexts = createOptionParser(
      Type.Object(
        {
          texts: Type.Array(Type.String({ minLength: 1, maxLength: 9, description: 'a text' }), {
            minItems: 1,
            maxItems: 3,
          }),
        },
        { additionalProperties: false },
      ),
    );
    const detail = 'texts must be a list of 1 to 3, each a text of 1 to 9 characters.';
    for (const members of [{}, { texts: [] }]) {
      assert.throws(() => parseTexts(ofMembers(members)), { code: 'invalid_option', detail });
    }
    assert.deepEqual(parseTexts(ofTexts(['texts', 'one'])), { texts: ['one'] });
  });
});
