import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BundleError } from '../../src/runtime/bundle-manifest.js';
import { createTextTokenizer } from '../../src/runtime/text-tokenizer.js';

/** A WordPiece tokenizer as BERT's, with nine entries. */
const definition = {
  version: '1.0',
  truncation: null,
  padding: { strategy: 'BatchLongest', direction: 'Right', pad_id: 7, pad_type_id: 0, pad_token: '[PAD]' },
  added_tokens: [
    {
      id: 1,
      content: '[CLS]',
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    },
    {
      id: 2,
      content: '[SEP]',
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    },
  ],
  normalizer: {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: {
    type: 'TemplateProcessing',
    single: [
      { SpecialToken: { id: '[CLS]', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: '[SEP]', type_id: 0 } },
    ],
    pair: [],
    special_tokens: {
      '[CLS]': { id: '[CLS]', ids: [1], tokens: ['[CLS]'] },
      '[SEP]': { id: '[SEP]', ids: [2], tokens: ['[SEP]'] },
    },
  },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: {
      '[UNK]': 0,
      '[CLS]': 1,
      '[SEP]': 2,
      a: 3,
      snow: 4,
      '##board': 5,
      '##er': 6,
      '[PAD]': 7,
      cafe: 8,
    },
  },
};
const json = JSON.stringify(definition);

describe('the text tokenizer', () => {
  const tokenize = createTextTokenizer('tokenizer.json', json, 6);

  it('splits words as the text encoder was trained', () => {
    const { inputIds, length } = tokenize(['A Snowboarder']);
    assert.equal(length, 6);
    assert.deepEqual([...inputIds], [1n, 3n, 4n, 5n, 6n, 2n]);
  });

  it('strips accents and maps what it does not know', () => {
    assert.deepEqual([...tokenize(['café xyz']).inputIds], [1n, 8n, 0n, 2n]);
  });

  it('pads to the longest text and masks the padding', () => {
    const { inputIds, attentionMask, length } = tokenize(['a snow', 'a']);
    assert.equal(length, 4);
    assert.deepEqual([...inputIds], [1n, 3n, 4n, 2n, 1n, 3n, 2n, 7n]);
    assert.deepEqual([...attentionMask], [1n, 1n, 1n, 1n, 1n, 1n, 1n, 0n]);
  });

  it('cuts a long text and still closes it', () => {
    assert.deepEqual([...tokenize(['a a a a a a a a']).inputIds], [1n, 3n, 3n, 3n, 3n, 2n]);
    assert.deepEqual(['a a a a a', 'a a a a'].map(tokenize.isCut), [true, false]);
  });

  it('takes no file of another kind', () => {
    assert.throws(() => createTextTokenizer('tokenizer.json', '{', 6), BundleError);
    assert.throws(() => createTextTokenizer('tokenizer.json', '{}', 6), BundleError);
    const unknown = JSON.stringify({ ...definition, model: { type: 'Oracle' } });
    assert.throws(() => createTextTokenizer('tokenizer.json', unknown, 6), BundleError);
  });
});
