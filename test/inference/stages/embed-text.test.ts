import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Tensor } from 'onnxruntime-node';
import { BundleError } from '../../../src/inference/manifest.js';
import {
  createTextEmbedding,
  createTextTokenizer,
  type TextTokenizer,
} from '../../../src/inference/stages/embed-text.js';

const tokenizeNumbers: TextTokenizer['tokenize'] = (texts) => ({
  inputIds: BigInt64Array.from(texts, (text) => BigInt(text)),
  attentionMask: new BigInt64Array(texts.length).fill(1n),
  length: 1,
});

describe('text embedding', () => {
  it('embeds any number of texts in runs of bounded size', async () => {
    const runs: number[] = [];
    const embedTexts = createTextEmbedding(
      ({ input_ids }) => {
        const ids = input_ids?.data;
        assert.ok(ids instanceof BigInt64Array);
        runs.push(ids.length);
        const data = Float32Array.from([...ids].flatMap((id) => [Number(id), -Number(id)]));
        return Promise.resolve({ text_embedding: new Tensor('float32', data, [ids.length, 2]) });
      },
      tokenizeNumbers,
      2,
    );
    const rows = await embedTexts(Array.from({ length: 600 }, (_, index) => String(index)));
    assert.deepEqual(runs, [256, 256, 88]);
    assert.equal(rows.count, 600);
    assert.deepEqual([...rows.data.subarray(599 * 2)], [599, -599]);
    assert.equal((await embedTexts([])).count, 0);
  });

  it('rejects an output of another shape', async () => {
    const graph = () =>
      Promise.resolve({ text_embedding: new Tensor('float32', new Float32Array(3), [1, 3]) });
    await assert.rejects(createTextEmbedding(graph, tokenizeNumbers, 2)(['1']), /text_embedding is \[1, 3\]/);
  });
});

/** A WordPiece tokenizer like that of BERT, with nine entries. */
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
  const { tokenize, isTruncated } = createTextTokenizer('tokenizer.json', json, 6);

  it('splits words into the subwords that the text encoder was trained on', () => {
    const { inputIds, length } = tokenize(['A Snowboarder']);
    assert.equal(length, 6);
    assert.deepEqual([...inputIds], [1n, 3n, 4n, 5n, 6n, 2n]);
  });

  it('strips accents and maps unknown words to the unknown token', () => {
    assert.deepEqual([...tokenize(['café xyz']).inputIds], [1n, 8n, 0n, 2n]);
  });

  it('pads to the longest text and masks the padding', () => {
    const { inputIds, attentionMask, length } = tokenize(['a snow', 'a']);
    assert.equal(length, 4);
    assert.deepEqual([...inputIds], [1n, 3n, 4n, 2n, 1n, 3n, 2n, 7n]);
    assert.deepEqual([...attentionMask], [1n, 1n, 1n, 1n, 1n, 1n, 1n, 0n]);
  });

  it('truncates a long text and keeps its closing token', () => {
    assert.deepEqual([...tokenize(['a a a a a a a a']).inputIds], [1n, 3n, 3n, 3n, 3n, 2n]);
    assert.deepEqual(['a a a a a', 'a a a a'].map(isTruncated), [true, false]);
  });

  it('rejects a file that is not a tokenizer', () => {
    assert.throws(() => createTextTokenizer('tokenizer.json', '{', 6), BundleError);
    assert.throws(() => createTextTokenizer('tokenizer.json', '{}', 6), BundleError);
    const unknown = JSON.stringify({ ...definition, model: { type: 'Oracle' } });
    assert.throws(() => createTextTokenizer('tokenizer.json', unknown, 6), BundleError);
  });
});
