import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createWords, forbidden, sentence } from '../../src/runtime/words.js';

const vocabulary = [
  '',
  ...['a', 'dog', 'dogs', "dog's", 'dog-sled', 'hotdog', 'man', 'men', 'woman', 'women', 'child', 'children'],
  ...[
    'person',
    'people',
    'german',
    'germans',
    'fireman',
    'firemen',
    'human',
    'his',
    'their',
    'city',
    'cities',
    'UNK',
  ],
];
const words = createWords(vocabulary, ['UNK'], 2);
const plain = { avoidWords: [], genderNeutral: false };

function forbiddenWords(bias: Float32Array): string[] {
  return vocabulary.filter((_, id) => bias[id] === forbidden);
}

describe('words', () => {
  it('are spelled up to the end of sentence', () => {
    assert.deepEqual(words.spell([1, 2, 0, 3]), ['a', 'dog']);
    assert.deepEqual(words.spell([1, 2]), ['a', 'dog']);
    assert.deepEqual(words.spell([0, 1]), []);
  });

  it('make a sentence with a capital letter and no full stop', () => {
    assert.equal(sentence(['a', 'dog']), 'A dog');
    assert.equal(sentence([]), '');
  });

  it('that the bundle blocks are never written', () => {
    assert.deepEqual(forbiddenWords(words.bias(plain)), ['UNK']);
  });

  it('that are avoided are forbidden with their plurals, possessives and compounds, and no others', () => {
    const avoid = (word: string): string[] => forbiddenWords(words.bias({ ...plain, avoidWords: [word] }));
    assert.deepEqual(avoid('dog'), ['dog', 'dogs', "dog's", 'dog-sled', 'UNK']);
    assert.deepEqual(avoid(' Dogs '), ['dogs', 'UNK']);
    assert.deepEqual(avoid('person'), ['person', 'people', 'UNK']);
    assert.deepEqual(avoid('german'), ['german', 'germans', 'UNK']);
    assert.deepEqual(avoid('city'), ['city', 'cities', 'UNK']);
    assert.deepEqual(avoid('unicorn'), ['UNK']);
  });

  it('that name a gender make way for those that do not', () => {
    const bias = words.bias({ ...plain, genderNeutral: true });
    assert.deepEqual(forbiddenWords(bias), [
      'man',
      'men',
      'woman',
      'women',
      'fireman',
      'firemen',
      'his',
      'UNK',
    ]);
    const favoured = vocabulary.filter((_, id) => (bias[id] ?? 0) > 0);
    assert.deepEqual(favoured, ['child', 'children', 'person', 'people', 'their']);
  });

  it('that are avoided stay avoided when they are neutral', () => {
    const bias = words.bias({ avoidWords: ['person'], genderNeutral: true });
    assert.equal(bias[vocabulary.indexOf('person')], forbidden);
  });

  it('that a client looks for and the image shows become more likely, with their plurals only', () => {
    const favoured = (fitting: string[], options = {}): string[] => {
      const bias = words.bias({ ...plain, ...options }, fitting);
      return vocabulary.filter((_, id) => bias[id] === 2);
    };
    assert.deepEqual(favoured(['dog']), ['dog', 'dogs']);
    assert.deepEqual(favoured(['Prairie Dog', 'unicorn', '']), ['dog', 'dogs']);
    assert.deepEqual(favoured(['dog', 'child'], { avoidWords: ['dog'] }), ['child', 'children']);
    assert.deepEqual(favoured(['UNK']), []);
    assert.ok(!favoured(['man'], { genderNeutral: true }).includes('man'));
  });

  it('of one request leave the next one alone', () => {
    words.bias({ avoidWords: ['dog'], genderNeutral: true });
    assert.deepEqual(forbiddenWords(words.bias(plain)), ['UNK']);
  });
});
