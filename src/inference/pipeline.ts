import { predictProbability } from './confidence.js';
import type { BundleManifest } from './manifest.js';
import type {
  CaptionItem,
  CaptionOutcome,
  DetectedConcept,
  EmbeddingItem,
  EmbeddingOutcome,
  ItemAnswer,
  ItemErrorCode,
  ScoreItem,
  ScoreOutcome,
  StageTiming,
  TextScore,
  WorkItem,
} from './messages.js';
import type { DecodeCaptions } from './stages/decode-caption.js';
import type { DetectConcepts } from './stages/detect-concepts.js';
import type { EncodeImages } from './stages/encode-image.js';
import type { EmbedTexts, TextTokenizer } from './stages/embed-text.js';
import { type ComparedBeam, rankCandidates, type Stems, toClipScore } from './stages/rank.js';
import { findTags, type TagModel } from './tags.js';
import { dot, getRow, maxDot, type Rows } from './tensors.js';

/** The stages that run a graph, in the order in which an image passes through them. */
export interface Stages {
  readonly encodeImages: EncodeImages;
  readonly detectConcepts: DetectConcepts;
  readonly decodeCaptions: DecodeCaptions;
  readonly embedTexts: EmbedTexts;
  readonly isTruncated: TextTokenizer['isTruncated'];
}

/** Both functions give one answer for each item, in order, and never throw: a failure is an answer too. */
export interface Pipeline {
  readonly captionBatch: (items: readonly CaptionItem[]) => Promise<ItemAnswer<CaptionOutcome>[]>;
  readonly scoreBatch: (items: readonly ScoreItem[]) => Promise<ItemAnswer<ScoreOutcome>[]>;
  readonly embedBatch: (items: readonly EmbeddingItem[]) => Promise<ItemAnswer<EmbeddingOutcome>[]>;
}

/** Tables of the bundle that no graph has. */
export interface Tables {
  /** Centroids of training images, for the feature `familiarity`: [rows, E]. */
  readonly imageCentroids: Rows;
  /** Undefined when the bundle has no tags. */
  readonly tags: TagModel | undefined;
  /** Of the words that a caption should not say twice; empty when the bundle does not mind. */
  readonly stems: Stems;
}

export function createPipeline(
  stages: Stages,
  manifest: BundleManifest,
  { imageCentroids, tags: tagModel, stems }: Tables,
): Pipeline {
  const { image, grid, decoding } = manifest;
  const { confidence, matchProbability } = manifest.calibration;
  const imageBytes = image.width * image.height * 3;
  const meanConceptScore = confidence.mean[confidence.features.indexOf('conceptScore')] ?? 0;
  const rankingRule = {
    lengthPenalty: decoding.lengthPenalty,
    rerankWeight: decoding.rerankWeight,
    repetition: { penalty: decoding.repetition?.penalty ?? 0, stems },
    calibration: confidence,
  };

  async function runCaption(items: readonly CaptionItem[]): Promise<ItemAnswer<CaptionOutcome>[]> {
    const options = items.map((item) => item.options);
    const startedMs = performance.now();
    const images = await stages.encodeImages(items.map(({ pixels }) => pixels));
    const encodedMs = performance.now();
    const detected = await stages.detectConcepts(images, options);
    const detectedMs = performance.now();
    const beams = await stages.decodeCaptions(detected, options);
    const decodedMs = performance.now();
    const texts = await stages.embedTexts(beams.flat().map(({ words }) => words.join(' ')));
    const timing = {
      encodeMs: encodedMs - startedMs,
      mixupMs: detectedMs - encodedMs,
      captionMs: decodedMs - detectedMs,
      scoreMs: performance.now() - decodedMs,
    };
    let textRow = 0;
    return items.map((item, index) => {
      const embedding = getRow(images.embeddings, index);
      const compared = (beams[index] ?? []).map((beam) => {
        return { ...beam, cosine: dot(embedding, getRow(texts, textRow++)) };
      });
      return rankBeams(item, embedding, compared, detected.concepts[index] ?? [], timing);
    });
  }

  function rankBeams(
    { options }: CaptionItem,
    embedding: Float32Array,
    beams: readonly ComparedBeam[],
    concepts: readonly DetectedConcept[],
    timing: StageTiming,
  ): ItemAnswer<CaptionOutcome> {
    // The confidence was fitted on shares among the bundle's words. A share among a client's words means something
    // else, so the feature gets its mean, which makes it count for nothing.
    const replacesVocabulary = options.concepts.length > 0 && options.conceptsMode === 'replace';
    const imageFeatures = {
      familiarity: maxDot(embedding, imageCentroids),
      conceptScore: replacesVocabulary ? meanConceptScore : (concepts[0]?.score ?? 0),
    };
    const ranked = rankCandidates(beams, imageFeatures, rankingRule, beams.length);
    const candidates = ranked.slice(0, options.candidates);
    if (candidates.length === 0) return createFailure('internal', 'the search ended without a sentence');
    // JSON has no NaN, so an image for which the model computes one must not become an answer.
    const areFinite = candidates.every((each) =>
      [each.confidence, each.clipScore, each.logProb].every(Number.isFinite),
    );
    if (!areFinite) return createFailure('internal', 'a score is not a finite number');
    const tags =
      tagModel &&
      findTags(
        tagModel,
        embedding,
        ranked.map(({ text }) => text.toLowerCase().split(' ')),
        options,
      );
    const outcome: CaptionOutcome = {
      candidates,
      concepts,
      ...(tags !== undefined && { tags }),
      timing,
    };
    return { ok: true, outcome: options.explain ? { ...outcome, gridSize: { ...grid } } : outcome };
  }

  async function runScore(items: readonly ScoreItem[]): Promise<ItemAnswer<ScoreOutcome>[]> {
    const startedMs = performance.now();
    const { embeddings } = await stages.encodeImages(items.map(({ pixels }) => pixels));
    const encodedMs = performance.now();
    const textRows = await stages.embedTexts(items.flatMap(({ texts }) => texts));
    const timing = { encodeMs: encodedMs - startedMs, scoreMs: performance.now() - encodedMs };
    let textRow = 0;
    return items.map(({ texts }, index) => {
      const embedding = getRow(embeddings, index);
      const familiarity = maxDot(embedding, imageCentroids);
      const scores = texts.map((text) =>
        scoreText(text, dot(embedding, getRow(textRows, textRow++)), familiarity),
      );
      if (!scores.every(({ cosine }) => Number.isFinite(cosine)))
        return createFailure('internal', 'a score is not a finite number');
      return { ok: true, outcome: { scores, timing } };
    });
  }

  function scoreText(text: string, cosine: number, familiarity: number): TextScore {
    return {
      cosine,
      clipScore: toClipScore(cosine),
      ...(matchProbability !== undefined && {
        matchProbability: predictProbability(matchProbability, { cosine, familiarity }),
      }),
      isTruncated: stages.isTruncated(text),
    };
  }

  async function runEmbedding(items: readonly EmbeddingItem[]): Promise<ItemAnswer<EmbeddingOutcome>[]> {
    const startedMs = performance.now();
    const images = items.flatMap((item) => (item.kind === 'embed-image' ? [item.pixels] : []));
    const imageRows = images.length === 0 ? undefined : (await stages.encodeImages(images)).embeddings;
    const encodedMs = performance.now();
    const texts = items.flatMap((item) => (item.kind === 'embed-texts' ? item.texts : []));
    const textRows = await stages.embedTexts(texts);
    const timing = { encodeMs: encodedMs - startedMs, scoreMs: performance.now() - encodedMs };
    let imageRow = 0;
    let textRow = 0;
    return items.map((item) => {
      const embeddings =
        item.kind === 'embed-texts'
          ? item.texts.map(() => getRow(textRows, textRow++).slice())
          : imageRows === undefined
            ? []
            : [getRow(imageRows, imageRow++).slice()];
      if (!embeddings.every((each) => each.every(Number.isFinite)))
        return createFailure('internal', 'an embedding is not a finite vector');
      return { ok: true, outcome: { embeddings, timing } };
    });
  }

  function refuseWrongSize(pixels: Uint8Array): ItemAnswer<never> | undefined {
    if (pixels.length === imageBytes) return undefined;
    return createFailure('internal', `an image has ${pixels.length} bytes where ${imageBytes} are expected`);
  }

  function refuseCaption({ pixels, options }: CaptionItem): ItemAnswer<never> | undefined {
    const isPhrase = options.avoidWords.some((word) => /\s/.test(word.trim()));
    if (isPhrase) return createFailure('invalid_option', 'avoidWords takes single words');
    return refuseWrongSize(pixels);
  }

  return {
    captionBatch: isolateFailures(refuseCaption, runCaption),
    scoreBatch: isolateFailures(({ pixels }) => refuseWrongSize(pixels), runScore),
    embedBatch: isolateFailures(
      (item) => (item.kind === 'embed-image' ? refuseWrongSize(item.pixels) : undefined),
      runEmbedding,
    ),
  };
}

/** Answers items of any kind: one answer for each item, in order. */
export async function answerBatch(
  { captionBatch, scoreBatch, embedBatch }: Pipeline,
  items: readonly WorkItem[],
): Promise<ItemAnswer[]> {
  const captions = await captionBatch(items.filter((item) => item.kind === 'caption'));
  const scores = await scoreBatch(items.filter((item) => item.kind === 'score'));
  const embeddings = await embedBatch(
    items.filter((item) => item.kind === 'embed-image' || item.kind === 'embed-texts'),
  );
  const embedded = embeddings.values();
  const next = {
    caption: captions.values(),
    score: scores.values(),
    'embed-image': embedded,
    'embed-texts': embedded,
  };
  return items.map(({ kind }) => next[kind].next().value ?? createFailure('internal', 'no answer'));
}

/**
 * Makes one item's failure its own: an item that `refuse` answers does not run, and when a run of several items throws,
 * each of them runs again by itself, so that only the item that causes the error fails.
 */
function isolateFailures<Item, Outcome>(
  refuse: (item: Item) => ItemAnswer<Outcome> | undefined,
  run: (items: readonly Item[]) => Promise<ItemAnswer<Outcome>[]>,
): (items: readonly Item[]) => Promise<ItemAnswer<Outcome>[]> {
  async function runIsolated(items: readonly Item[]): Promise<ItemAnswer<Outcome>[]> {
    if (items.length === 0) return [];
    try {
      return await run(items);
    } catch (error) {
      if (items.length === 1)
        return [createFailure('internal', error instanceof Error ? error.message : String(error))];
      const answers: ItemAnswer<Outcome>[] = [];
      for (const item of items) answers.push(...(await runIsolated([item])));
      return answers;
    }
  }

  return async (items) => {
    const refusals = items.map(refuse);
    const answers = (await runIsolated(items.filter((_, index) => refusals[index] === undefined))).values();
    return refusals.map(
      (refusal) => refusal ?? answers.next().value ?? createFailure('internal', 'no answer'),
    );
  };
}

function createFailure(code: ItemErrorCode, message: string): ItemAnswer<never> {
  return { ok: false, code, message };
}
