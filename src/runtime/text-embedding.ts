import { Tensor } from 'onnxruntime-node';
import { checkShape, floats, type Graph, output } from './tensors.js';
import type { TextTokenizer } from './text-tokenizer.js';
import type { Rows } from './vectors.js';

/** Unit vectors of texts, one row for each. */
export type EmbedTexts = (texts: readonly string[]) => Promise<Rows>;

/**
 * Most texts of one run of the text encoder: all candidates of a batch of 25 images with ten beams. It bounds memory,
 * and the time between two heartbeats, when a client brings a hundred concepts.
 */
const maxTextsPerRun = 256;

/** @param width E, length of an embedding */
export function createTextEmbedding(graph: Graph, tokenize: TextTokenizer, width: number): EmbedTexts {
  return async (texts) => {
    const data = new Float32Array(texts.length * width);
    for (let start = 0; start < texts.length; start += maxTextsPerRun) {
      const { inputIds, attentionMask, length } = tokenize(texts.slice(start, start + maxTextsPerRun));
      const count = inputIds.length / length;
      const outputs = await graph({
        input_ids: new Tensor('int64', inputIds, [count, length]),
        attention_mask: new Tensor('int64', attentionMask, [count, length]),
      });
      const embedding = output(outputs, 'text_embedding');
      checkShape('text_embedding', embedding, [count, width]);
      data.set(floats(embedding), start * width);
    }
    return { data, count: texts.length, width };
  };
}
