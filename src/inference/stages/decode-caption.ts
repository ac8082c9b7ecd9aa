import { Tensor } from 'onnxruntime-node';
import type { BundleManifest } from '../manifest.js';
import type { ModelOptions } from '../messages.js';
import { checkShape, getOutput, type Graph, readFloats, readIntegers, toScalar } from '../tensors.js';
import { MASK_LOGIT, type Vocabulary } from '../vocabulary.js';
import type { DetectedBatch } from './detect-concepts.js';

/** A finished beam of the search. */
export interface Beam {
  readonly words: readonly string[];
  /** Sum of the natural logarithms of the token probabilities, end of sentence included. */
  readonly logProb: number;
  /** Number of tokens, end of sentence included. */
  readonly length: number;
}

/** Gives the beams of each image, in the order of the search. */
export type DecodeCaptions = (
  detected: DetectedBatch,
  options: readonly ModelOptions[],
) => Promise<readonly (readonly Beam[])[]>;

/**
 * The third stage: the graph runs the whole beam search. All images of a batch have one beam size, because it is a
 * dimension of the graph's tensors.
 */
export function createCaptionDecoding(
  graph: Graph,
  manifest: BundleManifest,
  vocabulary: Vocabulary,
): DecodeCaptions {
  const { lengthPenalty, noRepeatNgram } = manifest.decoding;
  const vocabularySize = manifest.dimensions.vocabulary;

  return async ({ memory, memoryMask, groundedConcepts }, options) => {
    const count = options.length;
    const beamSize = options[0]?.beamSize ?? 1;
    if (options.some((each) => each.beamSize !== beamSize))
      throw new Error('a batch has different beam sizes');
    const maxLengths = BigInt64Array.from(options, ({ maxLength }) => BigInt(maxLength));
    const logitBias = new Float32Array(count * vocabularySize);
    for (const [image, each] of options.entries())
      logitBias.set(vocabulary.logitBias(each, groundedConcepts[image]), image * vocabularySize);

    const outputs = await graph({
      memory,
      memory_mask: memoryMask,
      beam_size: toScalar(beamSize),
      max_length: new Tensor('int64', maxLengths, [count]),
      length_penalty: new Tensor('float32', new Float32Array(count).fill(lengthPenalty), [count]),
      no_repeat_ngram: toScalar(noRepeatNgram),
      word_bias: new Tensor('float32', logitBias, [count, vocabularySize]),
    });
    const tokens = getOutput(outputs, 'tokens'); // [B, K, L]
    const stepCount = tokens.dims[2] ?? 0;
    checkShape('tokens', tokens, [count, beamSize, stepCount]);
    checkShape('log_probs', getOutput(outputs, 'log_probs'), [count, beamSize]);
    checkShape('lengths', getOutput(outputs, 'lengths'), [count, beamSize]);
    const ids = Array.from(readIntegers(tokens), Number);
    const logProbs = readFloats(getOutput(outputs, 'log_probs'));
    const lengths = readIntegers(getOutput(outputs, 'lengths'));

    return options.map((_, image) => {
      const beams = Array.from({ length: beamSize }, (__, rank) => {
        const row = image * beamSize + rank;
        return {
          words: vocabulary.detokenize(ids.slice(row * stepCount, (row + 1) * stepCount)),
          logProb: logProbs[row] ?? NaN,
          length: Number(lengths[row] ?? 0n),
        };
      });
      return keepDistinct(beams);
    });
  };
}

/**
 * Keeps the beams that are sentences, each sentence once. A beam whose log-probability is below half of `MASK_LOGIT`
 * is dropped: either it had to use a masked word, or its slot was never filled.
 */
function keepDistinct(beams: readonly Beam[]): Beam[] {
  const bySentence = new Map<string, Beam>();
  for (const beam of beams) {
    if (beam.words.length === 0 || !(beam.logProb > MASK_LOGIT / 2)) continue;
    const text = beam.words.join(' ');
    const same = bySentence.get(text);
    if (same === undefined || same.logProb < beam.logProb) bySentence.set(text, beam);
  }
  return [...bySentence.values()];
}
