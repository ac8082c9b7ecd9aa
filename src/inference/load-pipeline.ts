import {
  readBundleFile,
  readConceptWords,
  readManifest,
  readRows,
  readStems,
  readTags,
  readVocabulary,
} from './bundle.js';
import { createConceptSource } from './concepts.js';
import { BundleError, type BundleManifest } from './manifest.js';
import type { CaptionItem, LoadCommand, Placement } from './messages.js';
import { createPipeline, type Pipeline } from './pipeline.js';
import { requireGpu } from './providers.js';
import { loadGraphs } from './sessions.js';
import { createCaptionDecoding } from './stages/decode-caption.js';
import { createConceptDetection } from './stages/detect-concepts.js';
import { createImageEncoding } from './stages/encode-image.js';
import { createTextEmbedding, createTextTokenizer } from './stages/embed-text.js';
import { createVocabulary } from './vocabulary.js';

export interface LoadedPipeline extends Pipeline {
  readonly manifest: BundleManifest;
  /** See `Graphs`. */
  readonly isSettled: boolean;
  readonly settle: () => Promise<Placement>;
}

/**
 * Loads a bundle's graphs and tables into this process. It takes seconds and blocks the event loop.
 * @throws BundleError, ProviderError
 */
export async function loadPipeline(command: LoadCommand): Promise<LoadedPipeline> {
  const folder = command.bundlePath;
  const manifest = await readManifest(folder);
  if (command.bundleDigest !== undefined && command.bundleDigest !== manifest.digest) {
    // All processes must serve one bundle, so a process that replaces another may not load a newer one.
    throw new BundleError(
      'bundle.json has changed since it was read: SIGHUP makes the service load it again',
    );
  }
  const { dimensions, concepts, calibration, decoding } = manifest;
  const width = dimensions.embedding;

  const conceptWords = await readConceptWords(folder, manifest);
  const conceptRows = { count: conceptWords.length, width };
  const embeddings = await readRows(folder, manifest, concepts.embeddings, conceptRows);
  const tags = await readTags(folder, manifest, conceptWords, embeddings);
  const centroids = calibration.imageCentroids;
  const imageCentroids = await readRows(folder, manifest, centroids.file, { count: centroids.rows, width });
  const words = await readVocabulary(folder, manifest);
  const stemsFile = decoding.repetition?.stems;
  const stems = stemsFile === undefined ? new Map() : await readStems(folder, manifest, stemsFile, words);
  const vocabulary = createVocabulary(words, decoding.blockedWords, concepts.named?.bias);
  const { file, maxTokens } = manifest.tokenizer;
  const tokenizerJson = (await readBundleFile(folder, manifest, file)).toString('utf8');
  const { tokenize, isTruncated } = createTextTokenizer(file, tokenizerJson, maxTokens);

  const { run: graphs, isSettled, settle } = await loadGraphs(manifest, command);
  if (command.gpuOnly && command.provider === 'webgpu') requireGpu();

  const embedTexts = createTextEmbedding(graphs.textEncoder, tokenize, width);
  const conceptSource = createConceptSource({
    words: conceptWords,
    embeddings,
    prompts: concepts.prompts,
    k: concepts.k,
    cacheSize: command.conceptCacheSize,
    embedTexts,
  });
  const stages = {
    encodeImages: createImageEncoding(graphs.encoder, manifest),
    detectConcepts: createConceptDetection(graphs.mixup, manifest, conceptSource),
    decodeCaptions: createCaptionDecoding(graphs.decoder, manifest, vocabulary),
    embedTexts,
    isTruncated,
  };
  return {
    ...createPipeline(stages, manifest, { imageCentroids, tags, stems }),
    manifest,
    isSettled,
    settle,
  };
}

/**
 * Captions a synthetic image until the next run is as fast as any later one. The first run of one image is slow, and
 * the first run of the largest batch allocates its memory. Graphs that are loaded on several execution providers are
 * measured with the largest batch, which the service spends its time on under load.
 * @returns milliseconds of the last two runs, and the execution provider of each graph
 * @throws Error when the model fails on the synthetic image
 */
export async function warmUp(
  { captionBatch, manifest, isSettled, settle }: LoadedPipeline,
  maxBatch: number,
): Promise<{ single: number; largest: number; placement: Placement }> {
  const item = createRamp(manifest);
  const measure = async (count: number): Promise<number> => {
    const startedMs = performance.now();
    const answers = await captionBatch(Array.from({ length: count }, () => item));
    for (const answer of answers) if (!answer.ok) throw new Error(`the warm-up fails: ${answer.message}`);
    return performance.now() - startedMs;
  };
  await measure(1);
  // The second run is the one that counts: in the first, a GPU compiles its kernels for the new sizes.
  for (let run = 0; !isSettled && run < 2; run += 1) await measure(maxBatch);
  const placement = await settle();
  return { single: await measure(1), largest: await measure(maxBatch), placement };
}

/** Creates an image of repeating grey ramps, with the bundle's default options. */
function createRamp({ image, decoding }: BundleManifest): CaptionItem {
  return {
    kind: 'caption',
    pixels: Uint8Array.from({ length: image.width * image.height * 3 }, (_, index) => index % 256),
    options: {
      candidates: decoding.beamSize,
      beamSize: decoding.beamSize,
      maxLength: decoding.maxLength,
      concepts: [],
      conceptsMode: 'replace',
      avoidWords: [],
      genderNeutral: false,
      minTagProbability: 0.5,
      maxTags: 20,
      explain: false,
    },
  };
}
