import { reusePixels } from '../../images/decode-aside.js';
import { round } from '../round.js';
import type { ScoreResult } from '../schemas/score.js';
import type { Admitted } from '../submission/admission.js';
import { type ImageWay, readPixels } from '../submission/read-pixels.js';
import type { ImageSource } from '../submission/submission.js';

/**
 * The way of one image that is compared with texts.
 *
 * @throws ServiceError of readPixels and of the engine
 */
export async function scoreImage(
  way: ImageWay,
  source: ImageSource,
  texts: readonly string[],
  admission: Admitted,
): Promise<ScoreResult> {
  const { reservation, startedAt } = admission;
  const { bundle } = reservation.model;
  const { pixels, image, decodeMs } = await readPixels(way, source, bundle.image, admission);
  const { outcome, queueMs, cached } = await reservation.score({ kind: 'score', pixels, texts });
  reusePixels(pixels);
  return {
    scores: outcome.scores.map(({ cosine, clipScore, matchProbability, isCut }, index) => ({
      text: texts[index] ?? '',
      cosine: round(cosine, 6),
      clipScore: round(clipScore, 6),
      matchProbability: matchProbability === undefined ? null : round(matchProbability, 6),
      truncated: isCut,
    })),
    image,
    model: { id: bundle.id, version: bundle.version },
    timing: {
      queueMs: round(queueMs, 2),
      decodeMs: round(decodeMs, 2),
      encodeMs: round(outcome.timing.encodeMs, 2),
      scoreMs: round(outcome.timing.scoreMs, 2),
      totalMs: round(performance.now() - startedAt, 2),
      cached,
    },
  };
}
