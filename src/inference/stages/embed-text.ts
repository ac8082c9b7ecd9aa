import { Tokenizer } from '@huggingface/tokenizers';
import { Tensor } from 'onnxruntime-node';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { BundleError, parseJson } from '../manifest.js';
import { checkShape, getOutput, type Graph, readFloats, type Rows } from '../tensors.js';

/** Gives the embedding of each text as a row of unit length. */
export type EmbedTexts = (texts: readonly string[]) => Promise<Rows>;

/** Token ids of several texts, padded to the longest of them. */
export interface TokenBatch {
  /** [T, S], row-major. */
  readonly inputIds: BigInt64Array;
  /** [T, S], row-major; 1 for a token, 0 for padding. */
  readonly attentionMask: BigInt64Array;
  /** S, the number of tokens of the longest text. */
  readonly length: number;
}

export interface TextTokenizer {
  readonly tokenize: (texts: readonly string[]) => TokenBatch;
  /** Whether a text has more tokens than the text encoder takes, so that its end is not read. */
  readonly isTruncated: (text: string) => boolean;
}

/**
 * The largest number of texts in one run of the text encoder: all candidates of a batch of 25 images with ten beams.
 * It bounds memory, and the time between two heartbeats when a client brings a hundred concepts.
 */
const maxTextsPerRun = 256;

/**
 * The fourth stage: it embeds the beams' sentences (or a client's texts and concepts), so that they can be compared
 * with the image.
 * @param width E, the length of an embedding
 */
export function createTextEmbedding(
  graph: Graph,
  tokenize: TextTokenizer['tokenize'],
  width: number,
): EmbedTexts {
  return async (texts) => {
    const data = new Float32Array(texts.length * width);
    for (let start = 0; start < texts.length; start += maxTextsPerRun) {
      const { inputIds, attentionMask, length } = tokenize(texts.slice(start, start + maxTextsPerRun));
      const count = inputIds.length / length;
      const outputs = await graph({
        input_ids: new Tensor('int64', inputIds, [count, length]),
        attention_mask: new Tensor('int64', attentionMask, [count, length]),
      });
      const embedding = getOutput(outputs, 'text_embedding');
      checkShape('text_embedding', embedding, [count, width]);
      data.set(readFloats(embedding), start * width);
    }
    return { data, count: texts.length, width };
  };
}

const TokenizerJson = Type.Object({
  model: Type.Object({}),
  padding: Type.Optional(Type.Union([Type.Null(), Type.Object({ pad_id: Type.Integer({ minimum: 0 }) })])),
});

/**
 * @param file name for messages
 * @param json content of a Hugging Face `tokenizer.json`
 * @param maxTokens longest sequence, special tokens included; longer texts are truncated
 * @throws BundleError when the file is not a tokenizer this library can run
 */
export function createTextTokenizer(file: string, json: string, maxTokens: number): TextTokenizer {
  const definition = parseJson(json, file);
  if (!Value.Check(TokenizerJson, definition))
    throw new BundleError(`${file} is not a tokenizers definition`);
  const tokenizer = loadTokenizer(file, definition);
  const padId = BigInt(definition.padding?.pad_id ?? 0);

  function encode(text: string): number[] {
    const { ids } = tokenizer.encode(text);
    // The last token marks the end of the sequence, so a truncated text keeps it.
    return ids.length <= maxTokens ? ids : [...ids.slice(0, maxTokens - 1), ...ids.slice(-1)];
  }

  return {
    tokenize(texts) {
      const sequences = texts.map(encode);
      const length = Math.max(1, ...sequences.map((ids) => ids.length));
      const inputIds = new BigInt64Array(texts.length * length).fill(padId);
      const attentionMask = new BigInt64Array(texts.length * length);
      for (const [row, ids] of sequences.entries()) {
        for (const [column, id] of ids.entries()) {
          inputIds[row * length + column] = BigInt(id);
          attentionMask[row * length + column] = 1n;
        }
      }
      return { inputIds, attentionMask, length };
    },
    isTruncated: (text) => tokenizer.encode(text).ids.length > maxTokens,
  };
}

function loadTokenizer(file: string, definition: object): Tokenizer {
  try {
    return new Tokenizer(definition, {});
  } catch (error) {
    throw new BundleError(`${file} is not a tokenizer that can be run here`, { cause: error });
  }
}
