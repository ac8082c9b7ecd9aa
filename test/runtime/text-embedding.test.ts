import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Tensor } from 'onnxruntime-node';
import { createTextEmbedding } from '../../src/runtime/text-embedding.js';
import type { TextTokenizer } from '../../src/runtime/text-tokenizer.js';

const tokenize: TextTokenizer = (texts) => ({
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
      tokenize,
      2,
    );
    const rows = await embedTexts(Array.from({ length: 600 }, (_, index) => String(index)));
    assert.deepEqual(runs, [256, 256, 88]);
    assert.equal(rows.count, 600);
    assert.deepEqual([...rows.data.subarray(599 * 2)], [599, -599]);
    assert.equal((await embedTexts([])).count, 0);
  });

  it('takes no answer of another shape', async () => {
    const graph = () =>
      Promise.resolve({ text_embedding: new Tensor('float32', new Float32Array(3), [1, 3]) });
    await assert.rejects(createTextEmbedding(graph, tokenize, 2)(['1']), /text_embedding is \[1, 3\]/);
  });
});
