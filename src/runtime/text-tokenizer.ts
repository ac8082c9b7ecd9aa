import { Tokenizer } from '@huggingface/tokenizers';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { BundleError, parseJson } from './bundle-manifest.js';

/** Texts as the text encoder takes them, padded to the longest. */
export interface TokenBatch {
  /** [T, S], row-major */
  readonly inputIds: BigInt64Array;
  /** [T, S], row-major; 1 for a token, 0 for padding */
  readonly attentionMask: BigInt64Array;
  /** S */
  readonly length: number;
}

export type TextTokenizer = (texts: readonly string[]) => TokenBatch;

export interface CuttingTokenizer extends TextTokenizer {
  /** Whether a text has more tokens than are taken. */
  readonly isCut: (text: string) => boolean;
}

const TokenizerJson = Type.Object({
  model: Type.Object({}),
  padding: Type.Optional(Type.Union([Type.Null(), Type.Object({ pad_id: Type.Integer({ minimum: 0 }) })])),
});

/**
 * @param file name for messages
 * @param json content of a Hugging Face `tokenizer.json`
 * @param maxTokens longest sequence, special tokens included; the rest of a text is cut
 * @throws BundleError when the file is not a tokenizer this library can run
 */
export function createTextTokenizer(file: string, json: string, maxTokens: number): CuttingTokenizer {
  const definition = parseJson(json, file);
  if (!Value.Check(TokenizerJson, definition))
    throw new BundleError(`${file} is not a tokenizers definition`);
  const tokenizer = loadTokenizer(file, definition);
  const padId = BigInt(definition.padding?.pad_id ?? 0);

  function encode(text: string): number[] {
    const { ids } = tokenizer.encode(text);
    // The last token closes the sequence and is kept when the text is cut.
    return ids.length <= maxTokens ? ids : [...ids.slice(0, maxTokens - 1), ...ids.slice(-1)];
  }

  function tokenize(texts: readonly string[]): TokenBatch {
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
  }

  return Object.assign(tokenize, {
    isCut: (text: string) => tokenizer.encode(text).ids.length > maxTokens,
  });
}

function loadTokenizer(file: string, definition: object): Tokenizer {
  try {
    return new Tokenizer(definition, {});
  } catch (error) {
    throw new BundleError(`${file} is not a tokenizer that can be run here`, { cause: error });
  }
}
