import { type Features, type LogisticCalibration, predictProbability } from '../confidence.js';
import type { Candidate } from '../messages.js';
import { formatSentence } from '../vocabulary.js';
import type { Beam } from './decode-caption.js';

/** The features of a calibration that all candidates of one image share. */
export type ImageFeatures = Pick<Features, 'familiarity' | 'conceptScore'>;

/** A beam, and the cosine of its sentence to the image. */
export interface ComparedBeam extends Beam {
  readonly cosine: number;
}

/** What a word is a form of, for words that a caption should not say twice. */
export type Stems = ReadonlyMap<string, string>;

/**
 * A beam's rank score is the score of the search, logProb / length ** lengthPenalty, + rerankWeight · cosine −
 * repetition.penalty · the number of words said again.
 */
export interface RankingRule {
  readonly lengthPenalty: number;
  readonly rerankWeight: number;
  readonly repetition: { readonly penalty: number; readonly stems: Stems };
  readonly calibration: LogisticCalibration;
}

/**
 * The last stage: it orders the beams of one image, best first, and gives each its confidence.
 * @param maxCount the largest number of candidates to return
 */
export function rankCandidates(
  beams: readonly ComparedBeam[],
  imageFeatures: ImageFeatures,
  { lengthPenalty, rerankWeight, repetition, calibration }: RankingRule,
  maxCount: number,
): Candidate[] {
  const ranked = beams
    .map((beam) => {
      const { words, logProb, length, cosine } = beam;
      const repeated = countRepeated(words, repetition.stems);
      const rankScore =
        logProb / length ** lengthPenalty + rerankWeight * cosine - repetition.penalty * repeated;
      return { ...beam, meanLogProb: logProb / length, rankScore };
    })
    .sort((a, b) => b.rankScore - a.rankScore);
  const bestScore = ranked[0]?.rankScore ?? 0;
  return ranked.slice(0, maxCount).map(({ words, cosine, logProb, meanLogProb, length, rankScore }) => ({
    text: formatSentence(words),
    confidence: predictProbability(calibration, {
      ...imageFeatures,
      cosine,
      meanLogProb,
      logProb,
      length,
      rankScore,
      candidateMargin: bestScore - rankScore,
    }),
    clipScore: toClipScore(cosine),
    logProb,
    meanLogProb,
  }));
}

/** How many words repeat an earlier one, or another form of it. */
export function countRepeated(words: readonly string[], stems: Stems): number {
  const said = words.flatMap((word) => stems.get(word) ?? []);
  return said.length - new Set(said).size;
}

/** 2.5 · max(cos, 0), 0…2.5 (CLIPScore, Hessel et al. 2021). */
export function toClipScore(cosine: number): number {
  return 2.5 * Math.max(cosine, 0);
}
