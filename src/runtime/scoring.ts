import type { BundleManifest } from './bundle-manifest.js';
import { probability } from './confidence.js';
import type { EncodeImages } from './encoding.js';
import { failingAlone, failure, refuseOtherSizes } from './failing-alone.js';
import type { ItemAnswer, ScoreItem, ScoreOutcome, TextScore } from './messages.js';
import { clipScore } from './ranking.js';
import type { EmbedTexts } from './text-embedding.js';
import { dot, largestDot, rowOf, type Rows } from './vectors.js';

export interface ScoringStages {
  readonly encodeImages: EncodeImages;
  readonly embedTexts: EmbedTexts;
  /** Whether a text has more tokens than the text encoder takes. */
  readonly isCut: (text: string) => boolean;
}

/** Compares images with texts: one answer for each item, in order. Never throws: what fails is an answer too. */
export type ScoreBatch = (items: readonly ScoreItem[]) => Promise<ItemAnswer<ScoreOutcome>[]>;

/** @param imageCentroids [rows, E] where training photos lie, for the feature `familiarity` */
export function createScoring(
  { encodeImages, embedTexts, isCut }: ScoringStages,
  { image, calibration }: BundleManifest,
  imageCentroids: Rows,
): ScoreBatch {
  const imageBytes = image.width * image.height * 3;
  const { matchProbability } = calibration;

  function scoreOf(text: string, cosine: number, familiarity: number): TextScore {
    return {
      cosine,
      clipScore: clipScore(cosine),
      ...(matchProbability !== undefined && {
        matchProbability: probability(matchProbability, { cosine, familiarity }),
      }),
      isCut: isCut(text),
    };
  }

  /** Both encoders over one batch. Throws what a graph throws. */
  async function run(items: readonly ScoreItem[]): Promise<ItemAnswer<ScoreOutcome>[]> {
    const started = performance.now();
    const { embeddings } = await encodeImages(items.map(({ pixels }) => pixels));
    const encoded = performance.now();
    const textRows = await embedTexts(items.flatMap(({ texts }) => texts));
    const timing = { encodeMs: encoded - started, scoreMs: performance.now() - encoded };
    let row = 0;
    return items.map(({ texts }, index) => {
      const embedding = rowOf(embeddings, index);
      const familiarity = largestDot(embedding, imageCentroids);
      const scores = texts.map((text) => scoreOf(text, dot(embedding, rowOf(textRows, row++)), familiarity));
      if (!scores.every(({ cosine }) => Number.isFinite(cosine)))
        return failure('internal', 'a score is not a finite number');
      return { ok: true, outcome: { scores, timing } };
    });
  }

  return failingAlone(({ pixels }) => refuseOtherSizes(pixels, imageBytes), run);
}
