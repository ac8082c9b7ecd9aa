import assert from 'node:assert/strict';
import { Tensor } from 'onnxruntime-node';
import { type CaptionBatch, createCaptioning } from '../../src/runtime/captioning.js';
import { createConceptSource } from '../../src/runtime/concepts.js';
import { createCaptionWriting } from '../../src/runtime/decoding.js';
import { createConceptDetection } from '../../src/runtime/detection.js';
import { createImageEncoding } from '../../src/runtime/encoding.js';
import type { CaptionItem, CaptionOptions, ScoreItem } from '../../src/runtime/messages.js';
import { floats, type Graph, integers, output } from '../../src/runtime/tensors.js';
import { createScoring, type ScoreBatch } from '../../src/runtime/scoring.js';
import { createTextEmbedding } from '../../src/runtime/text-embedding.js';
import { createWords } from '../../src/runtime/words.js';
import { exampleManifest } from './example-bundle.js';

/** An image of this value makes the toy encoder throw. */
export const unencodable = 66;
/** An image of this value gets embeddings that are not numbers. */
export const notANumber = 77;

export interface Toy {
  readonly captionBatch: CaptionBatch;
  readonly scoreBatch: ScoreBatch;
  /** Images of each run of the encoder. */
  readonly encoderRuns: number[];
  /** Images of each run of the mixup graph. */
  readonly mixupRuns: number[];
  /** `max_length` of each run of the decoder. */
  readonly maxLengths: number[][];
}

/**
 * The pipeline over graphs written here. An image is one value; even images are dogs, odd ones are not. The decoder's
 * beams are "a dog", "a dogs" …, the first of them rotated by the image's value; the bias of their second word counts.
 */
export function toyPipeline(manifest = exampleManifest): Toy {
  const encoderRuns: number[] = [];
  const mixupRuns: number[] = [];
  const maxLengths: number[][] = [];

  const encoder: Graph = (feeds) => {
    const pixels = output(feeds, 'pixels');
    const count = pixels.dims[0] ?? 0;
    encoderRuns.push(count);
    assert.ok(pixels.data instanceof Uint8Array);
    const values = Array.from({ length: count }, (_, index) => Number(pixels.data[index * 24]));
    if (values.includes(unencodable)) throw new Error('the toy encoder cannot encode this');
    const directions = values.flatMap((value) => {
      if (value === notANumber) return [NaN, NaN];
      return value % 2 === 0 ? [1, 0] : [0, 1];
    });
    const spread = (width: number) =>
      Float32Array.from(values.flatMap((v) => Array<number>(4 * width).fill(v)));
    // the patches look right, up, left and between
    const patches = [1, 0, 0, 1, -1, 0, 3, 4];
    const local = Float32Array.from(values.flatMap((v) => patches.map((part) => v * part)));
    return Promise.resolve({
      grid: new Tensor('float32', spread(3), [count, 4, 3]),
      local: new Tensor('float32', local, [count, 4, 2]),
      image_embedding: new Tensor('float32', Float32Array.from(directions), [count, 2]),
    });
  };

  const mixup: Graph = (feeds) => {
    const grid = output(feeds, 'grid');
    const count = grid.dims[0] ?? 0;
    mixupRuns.push(count);
    const concepts = output(feeds, 'concepts').dims[0] ?? 0;
    const values = Array.from({ length: count }, (_, index) => floats(grid)[index * 12] ?? NaN);
    return Promise.resolve({
      memory: new Tensor('float32', Float32Array.from(values.flatMap((v) => [v, concepts])), [count, 1, 2]),
      memory_mask: new Tensor('float32', new Float32Array(count).fill(1), [count, 1]),
      // the last concept first
      concept_ids: new Tensor(
        'int64',
        BigInt64Array.from(values.flatMap(() => [BigInt(concepts - 1), BigInt(concepts - 2)])),
        [count, 2],
      ),
      concept_scores: new Tensor('float32', Float32Array.from(values.flatMap(() => [0.75, 0.25])), [
        count,
        2,
      ]),
    });
  };

  const decoder: Graph = (feeds) => {
    const memory = floats(output(feeds, 'memory'));
    const bias = floats(output(feeds, 'word_bias'));
    const beams = Number(integers(output(feeds, 'beam_size'))[0]);
    maxLengths.push(Array.from(integers(output(feeds, 'max_length')), Number));
    const count = memory.length / 2;
    const tokens: bigint[] = [];
    const logProbs: number[] = [];
    const lengths: bigint[] = [];
    for (let image = 0; image < count; image++) {
      const value = memory[image * 2] ?? 0;
      for (let beam = 0; beam < beams; beam++) {
        const word = 2 + ((value + beam) % 2);
        tokens.push(1n, BigInt(word), 0n);
        logProbs.push(-3 - beam + (bias[image * 5 + word] ?? NaN));
        lengths.push(3n);
      }
    }
    return Promise.resolve({
      tokens: new Tensor('int64', BigInt64Array.from(tokens), [count, beams, 3]),
      log_probs: new Tensor('float32', Float32Array.from(logProbs), [count, beams]),
      lengths: new Tensor('int64', BigInt64Array.from(lengths), [count, beams]),
    });
  };

  /** "dog" points to even images, "dogs" to odd ones. */
  const textEncoder: Graph = (feeds) => {
    const ids = Array.from(integers(output(feeds, 'input_ids')), Number);
    const data = ids.flatMap((id) => (id === 2 ? [1, 0] : [0, 1]));
    return Promise.resolve({
      text_embedding: new Tensor('float32', Float32Array.from(data), [ids.length, 2]),
    });
  };

  const vocabulary = ['', 'a', 'dog', 'dogs', 'UNK'];
  const embedTexts = createTextEmbedding(
    textEncoder,
    (texts) => ({
      inputIds: BigInt64Array.from(texts, (text) => BigInt(vocabulary.indexOf(text.split(' ').at(-1) ?? ''))),
      attentionMask: new BigInt64Array(texts.length).fill(1n),
      length: 1,
    }),
    2,
  );
  const concepts = createConceptSource({
    words: ['dog', 'cat', 'tree'],
    embeddings: { data: Float32Array.of(1, 0, 0, 1, 0.6, 0.8), count: 3, width: 2 },
    prompts: ['one {}'],
    k: 2,
    cacheSize: 10,
    embedTexts,
  });
  const words = createWords(vocabulary, ['UNK'], manifest.concepts.named?.bias);
  const stages = {
    encodeImages: createImageEncoding(encoder, manifest),
    detectConcepts: createConceptDetection(mixup, manifest, concepts),
    writeCaptions: createCaptionWriting(decoder, manifest, words),
    embedTexts,
  };
  const centroids = { data: Float32Array.of(1, 0), count: 1, width: 2 };
  const scoring = {
    encodeImages: stages.encodeImages,
    embedTexts,
    isCut: (text: string) => text.length > 20,
  };
  return {
    captionBatch: createCaptioning(stages, manifest, centroids),
    scoreBatch: createScoring(scoring, manifest, centroids),
    encoderRuns,
    mixupRuns,
    maxLengths,
  };
}

/** An image whose pixels all have one value. */
export function toyItem(value: number, options: Partial<CaptionOptions> = {}): CaptionItem {
  return {
    kind: 'caption',
    pixels: new Uint8Array(24).fill(value),
    options: {
      candidates: 2,
      beamSize: 2,
      maxLength: 6,
      concepts: [],
      conceptsMode: 'replace',
      avoidWords: [],
      genderNeutral: false,
      explain: false,
      ...options,
    },
  };
}

/** The same to be compared with texts. */
export function toyScoring(value: number, ...texts: string[]): ScoreItem {
  return { kind: 'score', pixels: new Uint8Array(24).fill(value), texts };
}
