import { Tensor } from 'onnxruntime-node';
import type { BundleManifest } from './bundle-manifest.js';
import type { DetectedBatch } from './detection.js';
import type { CaptionOptions } from './messages.js';
import { checkShape, floats, type Graph, integers, output, scalar } from './tensors.js';
import { forbidden, type Words } from './words.js';

/** One sentence the search ended with. */
export interface Beam {
  readonly words: readonly string[];
  /** Sum of natural logarithms, end of sentence included. */
  readonly logProb: number;
  /** Tokens, end of sentence included. */
  readonly length: number;
}

export type WriteCaptions = (
  detected: DetectedBatch,
  options: readonly CaptionOptions[],
) => Promise<readonly (readonly Beam[])[]>;

/** The third stage: beam search in the graph. All images of a batch have one beam size; it shapes the tensors. */
export function createCaptionWriting(graph: Graph, manifest: BundleManifest, words: Words): WriteCaptions {
  const { lengthPenalty, noRepeatNgram } = manifest.decoding;
  const { vocabulary } = manifest.dimensions;

  return async ({ memory, memoryMask, fitting }, options) => {
    const count = options.length;
    const beamSize = options[0]?.beamSize ?? 1;
    if (options.some((each) => each.beamSize !== beamSize))
      throw new Error('a batch has different beam sizes');
    const bias = new Float32Array(count * vocabulary);
    for (const [image, each] of options.entries())
      bias.set(words.bias(each, fitting[image]), image * vocabulary);

    const outputs = await graph({
      memory,
      memory_mask: memoryMask,
      beam_size: scalar(beamSize),
      max_length: new Tensor(
        'int64',
        BigInt64Array.from(options, ({ maxLength }) => BigInt(maxLength)),
        [count],
      ),
      length_penalty: new Tensor('float32', new Float32Array(count).fill(lengthPenalty), [count]),
      no_repeat_ngram: scalar(noRepeatNgram),
      word_bias: new Tensor('float32', bias, [count, vocabulary]),
    });
    const tokens = output(outputs, 'tokens'); // [B, K, L]
    const steps = tokens.dims[2] ?? 0;
    checkShape('tokens', tokens, [count, beamSize, steps]);
    checkShape('log_probs', output(outputs, 'log_probs'), [count, beamSize]);
    checkShape('lengths', output(outputs, 'lengths'), [count, beamSize]);
    const ids = Array.from(integers(tokens), Number);
    const logProbs = floats(output(outputs, 'log_probs'));
    const lengths = integers(output(outputs, 'lengths'));

    return options.map((_, image) => {
      const beams = Array.from({ length: beamSize }, (__, rank) => {
        const row = image * beamSize + rank;
        return {
          words: words.spell(ids.slice(row * steps, (row + 1) * steps)),
          logProb: logProbs[row] ?? NaN,
          length: Number(lengths[row] ?? 0n),
        };
      });
      return distinct(beams);
    });
  };
}

/**
 * Beams that are sentences, each once. A beam below half of `forbidden` had to use a forbidden word or never lived.
 */
function distinct(beams: readonly Beam[]): Beam[] {
  const bySentence = new Map<string, Beam>();
  for (const beam of beams) {
    if (beam.words.length === 0 || !(beam.logProb > forbidden / 2)) continue;
    const text = beam.words.join(' ');
    const same = bySentence.get(text);
    if (same === undefined || same.logProb < beam.logProb) bySentence.set(text, beam);
  }
  return [...bySentence.values()];
}
