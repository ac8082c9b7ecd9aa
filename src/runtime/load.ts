import { readBundleFile, readConceptWords, readManifest, readRows, readVocabulary } from './bundle.js';
import { BundleError, type BundleManifest } from './bundle-manifest.js';
import { type CaptionBatch, createCaptioning } from './captioning.js';
import { createConceptSource } from './concepts.js';
import { createCaptionWriting } from './decoding.js';
import { createConceptDetection } from './detection.js';
import { createImageEncoding } from './encoding.js';
import { failure } from './failing-alone.js';
import { requireGpu } from './hardware.js';
import type { CaptionItem, ItemAnswer, LoadOrder, Placement, WorkItem } from './messages.js';
import { createScoring, type ScoreBatch } from './scoring.js';
import { loadGraphs } from './sessions.js';
import { createTextEmbedding } from './text-embedding.js';
import { createTextTokenizer } from './text-tokenizer.js';
import { createWords } from './words.js';

export interface LoadedPipeline {
  readonly captionBatch: CaptionBatch;
  readonly scoreBatch: ScoreBatch;
  readonly manifest: BundleManifest;
  /** See Graphs. */
  readonly isSettled: boolean;
  readonly settle: () => Promise<Placement>;
}

/**
 * Loads a bundle's graphs and tables into this process; seconds, and it blocks the event loop.
 * @throws BundleError, ProviderError
 */
export async function loadPipeline(order: LoadOrder): Promise<LoadedPipeline> {
  const folder = order.bundlePath;
  const manifest = await readManifest(folder);
  if (order.bundleDigest !== undefined && order.bundleDigest !== manifest.digest) {
    // A process that is replaced must answer as those beside it do; a new bundle is loaded by all, on SIGHUP.
    throw new BundleError(
      'bundle.json has changed since it was read: SIGHUP makes the service load it again',
    );
  }
  const { dimensions, concepts, tokenizer, calibration } = manifest;
  const width = dimensions.embedding;

  const conceptWords = await readConceptWords(folder, manifest);
  const embeddings = await readRows(folder, manifest, concepts.embeddings, {
    count: conceptWords.length,
    width,
  });
  const centroids = calibration.imageCentroids;
  const imageCentroids = await readRows(folder, manifest, centroids.file, { count: centroids.rows, width });
  const vocabulary = await readVocabulary(folder, manifest);
  const words = createWords(vocabulary, manifest.decoding.blockedWords, concepts.named?.bias);
  const tokenizerJson = (await readBundleFile(folder, manifest, tokenizer.file)).toString('utf8');
  const tokenize = createTextTokenizer(tokenizer.file, tokenizerJson, tokenizer.maxTokens);

  const { run: graphs, isSettled, settle } = await loadGraphs(manifest, order);
  if (order.gpuOnly && order.provider === 'webgpu') requireGpu();
  const embedTexts = createTextEmbedding(graphs.textEncoder, tokenize, width);
  const conceptSource = createConceptSource({
    words: conceptWords,
    embeddings,
    prompts: concepts.prompts,
    k: concepts.k,
    cacheSize: order.conceptCacheSize,
    embedTexts,
  });
  const stages = {
    encodeImages: createImageEncoding(graphs.encoder, manifest),
    detectConcepts: createConceptDetection(graphs.mixup, manifest, conceptSource),
    writeCaptions: createCaptionWriting(graphs.decoder, manifest, words),
    embedTexts,
  };
  const scoringStages = { encodeImages: stages.encodeImages, embedTexts, isCut: tokenize.isCut };
  return {
    captionBatch: createCaptioning(stages, manifest, imageCentroids),
    scoreBatch: createScoring(scoringStages, manifest, imageCentroids),
    manifest,
    isSettled,
    settle,
  };
}

/** Answers work of either kind: one answer for each item, in order. */
export async function answerBatch(
  { captionBatch, scoreBatch }: LoadedPipeline,
  items: readonly WorkItem[],
): Promise<ItemAnswer[]> {
  const captions = await captionBatch(items.filter((item) => item.kind === 'caption'));
  const scores = await scoreBatch(items.filter((item) => item.kind === 'score'));
  const next = { caption: captions.values(), score: scores.values() };
  return items.map(({ kind }) => next[kind].next().value ?? failure('internal', 'no answer'));
}

/**
 * Runs one image twice, as the first run of all is slow, and the largest batch, so that memory is allocated. Before
 * that, graphs that are loaded on several providers are measured with the largest batch.
 * @returns milliseconds of the last two runs, and where the graphs have come to run
 * @throws Error when the model fails on a plain image
 */
export async function warmUp(
  { captionBatch, manifest, isSettled, settle }: LoadedPipeline,
  maxBatch: number,
): Promise<{ single: number; largest: number; placement: Placement }> {
  const item = plainItem(manifest);
  const measure = async (count: number): Promise<number> => {
    const started = performance.now();
    const answers = await captionBatch(Array.from({ length: count }, () => item));
    for (const answer of answers) if (!answer.ok) throw new Error(`the warm-up fails: ${answer.message}`);
    return performance.now() - started;
  };
  await measure(1);
  // Twice: a GPU compiles for new sizes in their first run.
  for (let run = 0; !isSettled && run < 2; run += 1) await measure(maxBatch);
  const placement = await settle();
  return { single: await measure(1), largest: await measure(maxBatch), placement };
}

/** A grey ramp with the bundle's default options. */
function plainItem({ image, decoding }: BundleManifest): CaptionItem {
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
      explain: false,
    },
  };
}
