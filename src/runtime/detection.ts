import { Tensor } from 'onnxruntime-node';
import type { BundleManifest } from './bundle-manifest.js';
import type { ConceptSource, ConceptVocabulary } from './concepts.js';
import type { EncodedImages } from './encoding.js';
import type { CaptionOptions, DetectedConcept } from './messages.js';
import { checkShape, floats, type Graph, integers, output, type Outputs, pickRows } from './tensors.js';
import { dot, rowOf, type Rows } from './vectors.js';

/** What the decoder attends to, and the concepts found on the way. */
export interface DetectedBatch {
  /** [B, M, d] */
  readonly memory: Tensor;
  /** [B, M], 1 attend, 0 not */
  readonly memoryMask: Tensor;
  /** For each image, most certain first. */
  readonly concepts: readonly (readonly DetectedConcept[])[];
  /** For each image, the concepts that its client named and that it seems to show. */
  readonly fitting: readonly (readonly string[])[];
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
  const { k, named } = manifest.concepts;
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
    return outputs;
  }

  /** The concepts of the image in row `row` of the outputs, and with `local` what each patch says of them. */
  function readConcepts(
    outputs: Outputs,
    row: number,
    { words, embeddings }: ConceptVocabulary,
    local?: Rows,
  ): DetectedConcept[] {
    const ids = integers(output(outputs, 'concept_ids')).subarray(row * k, (row + 1) * k);
    const scores = floats(output(outputs, 'concept_scores')).subarray(row * k, (row + 1) * k);
    const concepts: DetectedConcept[] = [];
    for (const [rank, id] of ids.entries()) {
      const word = words[Number(id)];
      if (word === undefined) continue; // a zero row that fills the vocabulary up
      const score = scores[rank] ?? 0;
      if (local === undefined) concepts.push({ word, score });
      else concepts.push({ word, score, patches: cosines(local, rowOf(embeddings, Number(id))) });
    }
    return concepts;
  }

  return async (images, options) => {
    const concepts: DetectedConcept[][] = options.map(() => []);
    const fitting: string[][] = options.map(() => []);
    const groups = [...groupRows(options.map((each) => source.keyOf(each))).values()];
    let memory: Tensor | undefined;
    let memoryMask: Tensor | undefined;
    for (const rows of groups) {
      const first = options[rows[0] ?? 0];
      if (first === undefined) continue;
      const vocabulary = await source.vocabularyOf(first);
      const outputs = await detect(images, rows, vocabulary);
      for (const [row, image] of rows.entries()) {
        const local = options[image]?.explain ? patchesOf(images.local, image, patches) : undefined;
        concepts[image] = readConcepts(outputs, row, vocabulary, local);
        if (named === undefined) continue;
        const client = source.clientRows(options[image] ?? first);
        fitting[image] = wordsThatFit(rowOf(images.embeddings, image), client, vocabulary, named.minCosine);
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
    return { memory, memoryMask, concepts, fitting };
  };
}

function wordsThatFit(
  image: Float32Array,
  rows: readonly number[],
  { words, embeddings }: ConceptVocabulary,
  minCosine: number,
): string[] {
  return rows
    .filter((row) => dot(image, rowOf(embeddings, row)) >= minCosine)
    .flatMap((row) => words[row] ?? []);
}

/** The patches of one image, in the embedding space. */
function patchesOf(local: Tensor, image: number, count: number): Rows {
  const width = local.dims[2] ?? 0;
  const data = floats(local).subarray(image * count * width, (image + 1) * count * width);
  return { data, count, width };
}

/**
 * Of each patch and the concept's own embedding. Not the graph's `patch_scores`: a bundle may have moved its concepts towards whole
 * photos before it compares them, and patches lie elsewhere (of 68 mosaics of four photos, the best patch for the one thing
 * looked for was in its photo 27 times; with the concept's own embedding, 54 times).
 */
function cosines(local: Rows, concept: Float32Array): number[] {
  return Array.from({ length: local.count }, (_, patch) => {
    const row = rowOf(local, patch);
    return dot(row, concept) / (Math.sqrt(dot(row, row)) || 1);
  });
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
