import { type LogisticCalibration, probability } from './confidence.js';
import type { Beam } from './decoding.js';
import type { Candidate } from './messages.js';
import { sentence } from './words.js';

/** What ranking needs to know of the image. */
export interface ImageEvidence {
  /** Largest cosine of the image to a centroid of training photos. */
  readonly familiarity: number;
  /** Share of the most certain concept in the detection softmax; 0 without concepts. */
  readonly conceptScore: number;
}

export interface RankingRule {
  /** A beam's rank is the score of the search, logProb / length ** lengthPenalty, + rerankWeight · cosine. */
  readonly lengthPenalty: number;
  readonly rerankWeight: number;
  readonly calibration: LogisticCalibration;
}

/**
 * Orders the beams of one image, best first, and gives each its confidence.
 * @param beams with the cosine of each sentence to the image
 * @param count candidates wanted, at most
 */
export function rankCandidates(
  beams: readonly (Beam & { readonly cosine: number })[],
  evidence: ImageEvidence,
  { lengthPenalty, rerankWeight, calibration }: RankingRule,
  count: number,
): Candidate[] {
  const ranked = beams
    .map((beam) => {
      const { logProb, length, cosine } = beam;
      const rank = logProb / length ** lengthPenalty + rerankWeight * cosine;
      return { ...beam, meanLogProb: logProb / length, rank };
    })
    .sort((a, b) => b.rank - a.rank);
  const best = ranked[0]?.rank ?? 0;
  return ranked.slice(0, count).map(({ words, cosine, logProb, meanLogProb, length, rank }) => ({
    text: sentence(words),
    confidence: probability(calibration, {
      ...evidence,
      cosine,
      meanLogProb,
      logProb,
      length,
      candidateMargin: best - rank,
    }),
    clipScore: clipScore(cosine),
    logProb,
    meanLogProb,
  }));
}

/** 2.5 · max(cos, 0), 0…2.5 (Hessel et al. 2021, CLIPScore). */
export function clipScore(cosine: number): number {
  return 2.5 * Math.max(cosine, 0);
}
