import assert from 'node:assert/strict';
import { Tensor } from 'onnxruntime-node';
import { createPipeline, type Pipeline } from '../../src/inference/pipeline.js';
import { createConceptSource } from '../../src/inference/concepts.js';
import { createCaptionDecoding } from '../../src/inference/stages/decode-caption.js';
import { createConceptDetection } from '../../src/inference/stages/detect-concepts.js';
import { createImageEncoding } from '../../src/inference/stages/encode-image.js';
import type { CaptionItem, ModelOptions, ScoreItem } from '../../src/inference/messages.js';
import { getOutput, type Graph, readFloats, readIntegers } from '../../src/inference/tensors.js';
import { createTextEmbedding } from '../../src/inference/stages/embed-text.js';
import { createVocabulary } from '../../src/inference/vocabulary.js';
import { exampleManifest } from './example-bundle.js';

/** An image of this value makes the toy encoder throw. */
export const unencodable = 66;
/** An image of this value gets embeddings that are not numbers. */
export const notANumber = 77;

export interface Toy extends Pipeline {
  /** The number of images in each run of the encoder. */
  readonly encoderRuns: number[];
  /** The number of images in each run of the mixup graph. */
  readonly mixupRuns: number[];
  /** The `max_length` of each run of the decoder. */
  readonly maxLengths: number[][];
}

/**
 * Makes the pipeline over graphs written here. An image has one value; even images show dogs, odd ones do not. The
 * decoder's beams are "a dog", "a dogs" and so on, rotated by the image's value. The logit bias of their second word is
 * added to their log-probability.
 */
export function createToyPipeline(manifest = exampleManifest): Toy {
  const encoderRuns: number[] = [];
  const mixupRuns: number[] = [];
  const maxLengths: number[][] = [];

  const encoder: Graph = (feeds) => {
    const pixels = getOutput(feeds, 'pixels');
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
    // The patches have the directions right, up, left and in between.
    const patches = [1, 0, 0, 1, -1, 0, 3, 4];
    const local = Float32Array.from(values.flatMap((v) => patches.map((part) => v * part)));
    return Promise.resolve({
      grid: new Tensor('float32', spread(3), [count, 4, 3]),
      local: new Tensor('float32', local, [count, 4, 2]),
      image_embedding: new Tensor('float32', Float32Array.from(directions), [count, 2]),
    });
  };

  const mixup: Graph = (feeds) => {
    const grid = getOutput(feeds, 'grid');
    const count = grid.dims[0] ?? 0;
    mixupRuns.push(count);
    const concepts = getOutput(feeds, 'concepts').dims[0] ?? 0;
    const values = Array.from({ length: count }, (_, index) => readFloats(grid)[index * 12] ?? NaN);
    return Promise.resolve({
      memory: new Tensor('float32', Float32Array.from(values.flatMap((v) => [v, concepts])), [count, 1, 2]),
      memory_mask: new Tensor('float32', new Float32Array(count).fill(1), [count, 1]),
      // The last concept comes first.
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
    const memory = readFloats(getOutput(feeds, 'memory'));
    const bias = readFloats(getOutput(feeds, 'word_bias'));
    const beams = Number(readIntegers(getOutput(feeds, 'beam_size'))[0]);
    maxLengths.push(Array.from(readIntegers(getOutput(feeds, 'max_length')), Number));
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

  /** The embedding of "dog" has the direction of even images, that of "dogs" the direction of odd ones. */
  const textEncoder: Graph = (feeds) => {
    const ids = Array.from(readIntegers(getOutput(feeds, 'input_ids')), Number);
    const data = ids.flatMap((id) => (id === 2 ? [1, 0] : [0, 1]));
    return Promise.resolve({
      text_embedding: new Tensor('float32', Float32Array.from(data), [ids.length, 2]),
    });
  };

  const words = ['', 'a', 'dog', 'dogs', 'UNK'];
  const embedTexts = createTextEmbedding(
    textEncoder,
    (texts) => ({
      inputIds: BigInt64Array.from(texts, (text) => BigInt(words.indexOf(text.split(' ').at(-1) ?? ''))),
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
  const vocabulary = createVocabulary(words, ['UNK'], manifest.concepts.named?.bias);
  const stages = {
    encodeImages: createImageEncoding(encoder, manifest),
    detectConcepts: createConceptDetection(mixup, manifest, concepts),
    decodeCaptions: createCaptionDecoding(decoder, manifest, vocabulary),
    embedTexts,
    isTruncated: (text: string) => text.length > 20,
  };
  const centroids = { data: Float32Array.of(1, 0), count: 1, width: 2 };
  return {
    ...createPipeline(stages, manifest, { imageCentroids: centroids, tags: undefined, stems: new Map() }),
    encoderRuns,
    mixupRuns,
    maxLengths,
  };
}

/** Makes an item whose pixels all have one value. */
export function createToyItem(value: number, options: Partial<ModelOptions> = {}): CaptionItem {
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
      minTagProbability: 0.5,
      maxTags: 20,
      explain: false,
      ...options,
    },
  };
}

/** Makes such an image to be compared with texts. */
export function createToyScoring(value: number, ...texts: string[]): ScoreItem {
  return { kind: 'score', pixels: new Uint8Array(24).fill(value), texts };
}
