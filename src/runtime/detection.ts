import { Tensor } from 'onnxruntime-node';
import type { BundleManifest } from './bundle-manifest.js';
import type { ConceptSource, ConceptVocabulary } from './concepts.js';
import type { EncodedImages } from './encoding.js';
import type { CaptionOptions, DetectedConcept } from './messages.js';
import { checkShape, floats, type Graph, integers, output, type Outputs, pickRows } from './tensors.js';

/** What the decoder attends to, and the concepts found on the way. */
export interface DetectedBatch {
  /** [B, M, d] */
  readonly memory: Tensor;
  /** [B, M], 1 attend, 0 not */
  readonly memoryMask: Tensor;
  /** For each image, most certain first. */
  readonly concepts: readonly (readonly DetectedConcept[])[];
}

export type DetectConcepts = (
  images: EncodedImages,
  options: readonly CaptionOptions[],
) => Promise<DetectedBatch>;

/** The second stage: detection, fusion and the visual-semantic encoder, run once for each concept vocabulary. */
export function createConceptDetection(
  graph: Graph,
  manifest: BundleManifest,
  source: ConceptSource,
): DetectConcepts {
  const { k } = manifest.concepts;
  const { memory: width, memoryLength } = manifest.dimensions;
  const patches = manifest.grid.rows * manifest.grid.columns;

  async function detect(images: EncodedImages, rows: readonly number[], { embeddings }: ConceptVocabulary) {
    const outputs = await graph({
      grid: pickRows(images.grid, rows),
      local: pickRows(images.local, rows),
      image_embedding: pickRows(images.imageEmbedding, rows),
      concepts: new Tensor('float32', embeddings.data, [embeddings.count, embeddings.width]),
    });
    checkShape('memory', output(outputs, 'memory'), [rows.length, memoryLength, width]);
    checkShape('memory_mask', output(outputs, 'memory_mask'), [rows.length, memoryLength]);
    checkShape('concept_ids', output(outputs, 'concept_ids'), [rows.length, k]);
    checkShape('patch_scores', output(outputs, 'patch_scores'), [rows.length, patches, k]);
    return outputs;
  }

  /** The concepts of the image in row `row` of the outputs. */
  function readConcepts(outputs: Outputs, row: number, words: readonly string[], explain: boolean) {
    const ids = integers(output(outputs, 'concept_ids')).subarray(row * k, (row + 1) * k);
    const scores = floats(output(outputs, 'concept_scores')).subarray(row * k, (row + 1) * k);
    const patchScores = floats(output(outputs, 'patch_scores'));
    const concepts: DetectedConcept[] = [];
    for (const [rank, id] of ids.entries()) {
      const word = words[Number(id)];
      if (word === undefined) continue; // a zero row that fills the vocabulary up
      const score = scores[rank] ?? 0;
      if (!explain) concepts.push({ word, score });
      else {
        const first = row * patches * k + rank;
        const cosines = Array.from({ length: patches }, (_, patch) => patchScores[first + patch * k] ?? 0);
        concepts.push({ word, score, patches: cosines });
      }
    }
    return concepts;
  }

  return async (images, options) => {
    const concepts: DetectedConcept[][] = options.map(() => []);
    const groups = [...groupRows(options.map((each) => source.keyOf(each))).values()];
    let memory: Tensor | undefined;
    let memoryMask: Tensor | undefined;
    for (const rows of groups) {
      const first = options[rows[0] ?? 0];
      if (first === undefined) continue;
      const vocabulary = await source.vocabularyOf(first);
      const outputs = await detect(images, rows, vocabulary);
      for (const [row, image] of rows.entries()) {
        concepts[image] = readConcepts(outputs, row, vocabulary.words, options[image]?.explain ?? false);
      }
      if (groups.length === 1) {
        memory = output(outputs, 'memory');
        memoryMask = output(outputs, 'memory_mask');
      } else {
        memory = scatterRows(output(outputs, 'memory'), rows, options.length, memory);
        memoryMask = scatterRows(output(outputs, 'memory_mask'), rows, options.length, memoryMask);
      }
    }
    if (memory === undefined || memoryMask === undefined) throw new Error('no image was given');
    return { memory, memoryMask, concepts };
  };
}

/** Row numbers by key, in order of first appearance. */
function groupRows(keys: readonly string[]): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  for (const [row, key] of keys.entries()) {
    const rows = groups.get(key);
    if (rows === undefined) groups.set(key, [row]);
    else rows.push(row);
  }
  return groups;
}

/** Writes the rows of `part` to their places in `whole`, a tensor of `count` rows that is made when absent. */
function scatterRows(part: Tensor, rows: readonly number[], count: number, whole?: Tensor): Tensor {
  const [, ...rest] = part.dims;
  const width = rest.reduce((product, size) => product * size, 1);
  const target = whole ?? new Tensor('float32', new Float32Array(count * width), [count, ...rest]);
  const source = floats(part);
  for (const [index, row] of rows.entries()) {
    floats(target).set(source.subarray(index * width, (index + 1) * width), row * width);
  }
  return target;
}
