import type { BundleManifest } from './bundle-manifest.js';
import type { Beam, WriteCaptions } from './decoding.js';
import type { DetectConcepts } from './detection.js';
import type { EncodeImages } from './encoding.js';
import { failingAlone, failure, refuseOtherSizes } from './failing-alone.js';
import type { CaptionItem, CaptionOutcome, DetectedConcept, ItemAnswer, StageTiming } from './messages.js';
import { rankCandidates } from './ranking.js';
import type { EmbedTexts } from './text-embedding.js';
import { dot, largestDot, rowOf, type Rows } from './vectors.js';

/** The stages an image goes through, in order. */
export interface Stages {
  readonly encodeImages: EncodeImages;
  readonly detectConcepts: DetectConcepts;
  readonly writeCaptions: WriteCaptions;
  readonly embedTexts: EmbedTexts;
}

/** Captions a batch: one answer for each item, in order. Never throws: what fails is an answer too. */
export type CaptionBatch = (items: readonly CaptionItem[]) => Promise<ItemAnswer<CaptionOutcome>[]>;

/**
 * @param imageCentroids [rows, E] where training photos lie, for the feature `familiarity`
 */
export function createCaptioning(
  stages: Stages,
  manifest: BundleManifest,
  imageCentroids: Rows,
): CaptionBatch {
  const { image, grid } = manifest;
  const imageBytes = image.width * image.height * 3;
  const { features, mean } = manifest.calibration.confidence;
  const usualConceptScore = mean[features.indexOf('conceptScore')] ?? 0;
  const rule = {
    lengthPenalty: manifest.decoding.lengthPenalty,
    rerankWeight: manifest.decoding.rerankWeight,
    calibration: manifest.calibration.confidence,
  };

  function refuse({ pixels, options }: CaptionItem): ItemAnswer<CaptionOutcome> | undefined {
    const isPhrase = options.avoidWords.some((word) => /\s/.test(word.trim()));
    if (isPhrase) return failure('invalid_option', 'avoidWords takes single words');
    return refuseOtherSizes(pixels, imageBytes);
  }

  /** The four graphs over one batch. Throws what a graph throws. */
  async function run(items: readonly CaptionItem[]): Promise<ItemAnswer<CaptionOutcome>[]> {
    const options = items.map((item) => item.options);
    const started = performance.now();
    const images = await stages.encodeImages(items.map((item) => item.pixels));
    const encoded = performance.now();
    const detected = await stages.detectConcepts(images, options);
    const mixed = performance.now();
    const beams = await stages.writeCaptions(detected, options);
    const written = performance.now();
    const texts = await stages.embedTexts(beams.flat().map(({ words }) => words.join(' ')));
    const timing = {
      encodeMs: encoded - started,
      mixupMs: mixed - encoded,
      captionMs: written - mixed,
      scoreMs: performance.now() - written,
    };
    let row = 0;
    return items.map((item, index) => {
      const embedding = rowOf(images.embeddings, index);
      const scored = (beams[index] ?? []).map((beam) => {
        return { ...beam, cosine: dot(embedding, rowOf(texts, row++)) };
      });
      return describe(item, embedding, scored, detected.concepts[index] ?? [], timing);
    });
  }

  function describe(
    { options }: CaptionItem,
    embedding: Float32Array,
    beams: readonly (Beam & { cosine: number })[],
    concepts: readonly DetectedConcept[],
    timing: StageTiming,
  ): ItemAnswer<CaptionOutcome> {
    // A share among the client's words says something else than one among the bundle's, on which the confidence was fitted.
    const isOwnVocabulary = options.concepts.length > 0 && options.conceptsMode === 'replace';
    const evidence = {
      familiarity: largestDot(embedding, imageCentroids),
      conceptScore: isOwnVocabulary ? usualConceptScore : (concepts[0]?.score ?? 0),
    };
    const candidates = rankCandidates(beams, evidence, rule, options.candidates);
    if (candidates.length === 0) return failure('internal', 'the search ended without a sentence');
    // JSON has no NaN; an image that makes the model compute one gets no answer that looks like one.
    const numbers = candidates.flatMap(({ confidence, clipScore, logProb }) => [
      confidence,
      clipScore,
      logProb,
    ]);
    if (!numbers.every(Number.isFinite)) return failure('internal', 'a score is not a finite number');
    const outcome: CaptionOutcome = { candidates, concepts, timing };
    return { ok: true, outcome: options.explain ? { ...outcome, gridSize: { ...grid } } : outcome };
  }

  return failingAlone(refuse, run);
}
