import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createVocabulary, formatSentence, MASK_LOGIT } from '../../src/inference/vocabulary.js';

const wordList = [
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
const vocabulary = createVocabulary(wordList, ['UNK'], 2);
const plain = { avoidWords: [], genderNeutral: false };

function maskedWords(bias: Float32Array): string[] {
  return wordList.filter((_, id) => bias[id] === MASK_LOGIT);
}

describe('the vocabulary', () => {
  it('detokenizes ids up to the end of sentence', () => {
    assert.deepEqual(vocabulary.detokenize([1, 2, 0, 3]), ['a', 'dog']);
    assert.deepEqual(vocabulary.detokenize([1, 2]), ['a', 'dog']);
    assert.deepEqual(vocabulary.detokenize([0, 1]), []);
  });

  it('formats a sentence with a capital letter and no full stop', () => {
    assert.equal(formatSentence(['a', 'dog']), 'A dog');
    assert.equal(formatSentence([]), '');
  });

  it('masks the words that the bundle blocks', () => {
    assert.deepEqual(maskedWords(vocabulary.logitBias(plain)), ['UNK']);
  });

  it('masks an avoided word with its plurals, possessives and compounds, and no others', () => {
    const avoid = (word: string): string[] =>
      maskedWords(vocabulary.logitBias({ ...plain, avoidWords: [word] }));
    assert.deepEqual(avoid('dog'), ['dog', 'dogs', "dog's", 'dog-sled', 'UNK']);
    assert.deepEqual(avoid(' Dogs '), ['dogs', 'UNK']);
    assert.deepEqual(avoid('person'), ['person', 'people', 'UNK']);
    assert.deepEqual(avoid('german'), ['german', 'germans', 'UNK']);
    assert.deepEqual(avoid('city'), ['city', 'cities', 'UNK']);
    assert.deepEqual(avoid('unicorn'), ['UNK']);
  });

  it('masks gendered words and boosts neutral ones', () => {
    const bias = vocabulary.logitBias({ ...plain, genderNeutral: true });
    assert.deepEqual(maskedWords(bias), ['man', 'men', 'woman', 'women', 'fireman', 'firemen', 'his', 'UNK']);
    const favoured = wordList.filter((_, id) => (bias[id] ?? 0) > 0);
    assert.deepEqual(favoured, ['child', 'children', 'person', 'people', 'their']);
  });

  it('masks an avoided word that is also neutral', () => {
    const bias = vocabulary.logitBias({ avoidWords: ['person'], genderNeutral: true });
    assert.equal(bias[wordList.indexOf('person')], MASK_LOGIT);
  });

  it('boosts grounded concepts and their plurals, and nothing else', () => {
    const favoured = (grounded: string[], options = {}): string[] => {
      const bias = vocabulary.logitBias({ ...plain, ...options }, grounded);
      return wordList.filter((_, id) => bias[id] === 2);
    };
    assert.deepEqual(favoured(['dog']), ['dog', 'dogs']);
    assert.deepEqual(favoured(['Prairie Dog', 'unicorn', '']), ['dog', 'dogs']);
    assert.deepEqual(favoured(['dog', 'child'], { avoidWords: ['dog'] }), ['child', 'children']);
    assert.deepEqual(favoured(['UNK']), []);
    assert.ok(!favoured(['man'], { genderNeutral: true }).includes('man'));
  });

  it('does not carry the options of one request over to the next', () => {
    vocabulary.logitBias({ avoidWords: ['dog'], genderNeutral: true });
    assert.deepEqual(maskedWords(vocabulary.logitBias(plain)), ['UNK']);
  });
});
