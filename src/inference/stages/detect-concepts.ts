import { Tensor } from 'onnxruntime-node';
import type { ConceptSource, ConceptVocabulary } from '../concepts.js';
import type { BundleManifest } from '../manifest.js';
import type { ModelOptions, DetectedConcept } from '../messages.js';
import {
  checkShape,
  dot,
  getOutput,
  getRow,
  type Graph,
  type Outputs,
  pickRows,
  readFloats,
  readIntegers,
  type Rows,
  scatterRows,
} from '../tensors.js';
import type { EncodedImages } from './encode-image.js';

/** The decoder's input, and the concepts that were detected while computing it. */
export interface DetectedBatch {
  /** The sequence that the decoder attends to: [B, M, d]. */
  readonly memory: Tensor;
  /** The attention mask of `memory`: [B, M], 1 to attend and 0 not to. */
  readonly memoryMask: Tensor;
  /** For each image, most certain first. */
  readonly concepts: readonly (readonly DetectedConcept[])[];
  /** For each image, the concepts that its client named and that the image seems to show. */
  readonly groundedConcepts: readonly (readonly string[])[];
}

export type DetectConcepts = (
  images: EncodedImages,
  options: readonly ModelOptions[],
) => Promise<DetectedBatch>;

/**
 * The second stage: it detects concepts in each image and mixes them with the patches to the decoder's memory. The
 * concept vocabulary is an input of the graph that has no batch dimension, so the graph runs once for each vocabulary.
 */
export function createConceptDetection(
  graph: Graph,
  manifest: BundleManifest,
  source: ConceptSource,
): DetectConcepts {
  const { k, named } = manifest.concepts;
  const { memory: width, memoryLength } = manifest.dimensions;
  const patchCount = manifest.grid.rows * manifest.grid.columns;

  async function runMixup(images: EncodedImages, rows: readonly number[], { embeddings }: ConceptVocabulary) {
    const outputs = await graph({
      grid: pickRows(images.grid, rows),
      local: pickRows(images.local, rows),
      image_embedding: pickRows(images.imageEmbedding, rows),
      concepts: new Tensor('float32', embeddings.data, [embeddings.count, embeddings.width]),
    });
    checkShape('memory', getOutput(outputs, 'memory'), [rows.length, memoryLength, width]);
    checkShape('memory_mask', getOutput(outputs, 'memory_mask'), [rows.length, memoryLength]);
    checkShape('concept_ids', getOutput(outputs, 'concept_ids'), [rows.length, k]);
    return outputs;
  }

  /** Reads the concepts of one row of the outputs; with `local`, each has its cosine to every patch. */
  function readConcepts(
    outputs: Outputs,
    row: number,
    { words, embeddings }: ConceptVocabulary,
    local?: Rows,
  ): DetectedConcept[] {
    const ids = readIntegers(getOutput(outputs, 'concept_ids')).subarray(row * k, (row + 1) * k);
    const scores = readFloats(getOutput(outputs, 'concept_scores')).subarray(row * k, (row + 1) * k);
    const concepts: DetectedConcept[] = [];
    for (const [rank, id] of ids.entries()) {
      const word = words[Number(id)];
      if (word === undefined) continue; // The row is padding of the vocabulary, not a concept.
      const score = scores[rank] ?? 0;
      if (local === undefined) concepts.push({ word, score });
      else concepts.push({ word, score, patches: comparePatches(local, getRow(embeddings, Number(id))) });
    }
    return concepts;
  }

  // Most clients bring no concepts, and their images need nothing that depends on the words.
  const keyOf = (each: ModelOptions): string => (each.concepts.length === 0 ? '' : source.keyOf(each));
  const vocabularyOf = (each: ModelOptions): ConceptVocabulary | Promise<ConceptVocabulary> =>
    each.concepts.length === 0 ? source.bundleVocabulary : source.vocabularyOf(each);

  return async (images, options) => {
    const concepts: DetectedConcept[][] = options.map(() => []);
    const groundedConcepts: string[][] = options.map(() => []);
    const groups = groupRows(options.map(keyOf));
    let memory: Tensor | undefined;
    let memoryMask: Tensor | undefined;
    for (const rows of groups) {
      const first = options[rows[0] ?? 0];
      if (first === undefined) continue;
      const vocabulary = await vocabularyOf(first);
      const outputs = await runMixup(images, rows, vocabulary);
      for (const [row, image] of rows.entries()) {
        const own = options[image] ?? first;
        const local = own.explain ? slicePatches(images.local, image, patchCount) : undefined;
        concepts[image] = readConcepts(outputs, row, vocabulary, local);
        if (named === undefined || own.concepts.length === 0) continue;
        const embedding = getRow(images.embeddings, image);
        groundedConcepts[image] = findGrounded(
          embedding,
          source.clientRows(own),
          vocabulary,
          named.minCosine,
        );
      }
      if (groups.length === 1) {
        memory = getOutput(outputs, 'memory');
        memoryMask = getOutput(outputs, 'memory_mask');
      } else {
        memory = scatterRows(getOutput(outputs, 'memory'), rows, options.length, memory);
        memoryMask = scatterRows(getOutput(outputs, 'memory_mask'), rows, options.length, memoryMask);
      }
    }
    if (memory === undefined || memoryMask === undefined) throw new Error('no image was given');
    return { memory, memoryMask, concepts, groundedConcepts };
  };
}

/** Lists the numbers of equal keys together, in order of their first appearance. */
function groupRows(keys: readonly string[]): number[][] {
  const groups = new Map<string, number[]>();
  for (const [row, key] of keys.entries()) {
    const rows = groups.get(key);
    if (rows === undefined) groups.set(key, [row]);
    else rows.push(row);
  }
  return [...groups.values()];
}

/** Finds the words among `rows` whose cosine to the image is at least `minCosine`. */
function findGrounded(
  image: Float32Array,
  rows: readonly number[],
  { words, embeddings }: ConceptVocabulary,
  minCosine: number,
): string[] {
  return rows
    .filter((row) => dot(image, getRow(embeddings, row)) >= minCosine)
    .flatMap((row) => words[row] ?? []);
}

/** Gives the patches of one image, in the embedding space, as a view. */
function slicePatches(local: Tensor, image: number, count: number): Rows {
  const width = local.dims[2] ?? 0;
  const data = readFloats(local).subarray(image * count * width, (image + 1) * count * width);
  return { data, count, width };
}

/**
 * Computes the cosine of each patch with the concept's own embedding. The graph's `patch_scores` would be wrong here,
 * because a bundle may shift its concepts towards whole images before it compares them, and patches lie elsewhere: in
 * 68 mosaics of four photos, the best patch for the one thing named was in the right photo 27 times by
 * `patch_scores`, and 54 times by the concept's own embedding.
 */
function comparePatches(local: Rows, concept: Float32Array): number[] {
  return Array.from({ length: local.count }, (_, patch) => {
    const row = getRow(local, patch);
    return dot(row, concept) / (Math.sqrt(dot(row, row)) || 1);
  });
}
