import { reusePixels } from '../../images/decode-aside.js';
import type { CaptionOutcome } from '../../runtime/messages.js';
import { round } from '../round.js';
import type { CaptionResult } from '../schemas/caption-result.js';
import type { Admitted } from '../submission/admission.js';
import { type ImageWay, readPixels } from '../submission/read-pixels.js';
import type { ImageSource } from '../submission/submission.js';
import type { AskedCaption } from './caption-options.js';

/**
 * The way of one image: read and decoded to the bundle's pixels, captioned by the engine, shaped for the client.
 *
 * @throws ServiceError of readPixels and of the engine
 */
export async function captionImage(
  way: ImageWay,
  source: ImageSource,
  { options, minConfidence }: AskedCaption,
  admission: Admitted,
): Promise<CaptionResult> {
  const { reservation, startedAt } = admission;
  const { bundle } = reservation.model;
  const { pixels, image, decodeMs } = await readPixels(way, source, bundle.image, admission);
  const { outcome, queueMs, cached } = await reservation.submit({ kind: 'caption', pixels, options });
  reusePixels(pixels);
  const { concepts, gridSize, timing } = outcome;
  const captions = outcome.candidates.map(({ text, ...scores }) => ({ text, ...rounded(scores) }));
  const { text, ...scores } = best(captions);
  return {
    caption: scores.confidence < minConfidence ? null : text,
    ...scores,
    captions,
    concepts: concepts.map(({ word, score, patches }) => ({
      word,
      score: round(score, 6),
      ...(patches !== undefined && { patches: patches.map((cosine) => round(cosine, 6)) }),
    })),
    ...(gridSize !== undefined && { gridSize }),
    image,
    model: { id: bundle.id, version: bundle.version },
    timing: {
      ...milliseconds({ queueMs, decodeMs, ...timing, totalMs: performance.now() - startedAt }),
      cached,
    },
  };
}

type Scores = Omit<CaptionOutcome['candidates'][number], 'text'>;

function best<T>([first]: readonly T[]): T {
  if (first === undefined) throw new Error('the engine returned no candidate');
  return first;
}

function rounded({ confidence, clipScore, logProb, meanLogProb }: Scores): Scores {
  return {
    confidence: round(confidence, 6),
    clipScore: round(clipScore, 6),
    logProb: round(logProb, 6),
    meanLogProb: round(meanLogProb, 6),
  };
}

type Timing = Omit<CaptionResult['timing'], 'cached'>;

function milliseconds(timing: Timing): Timing {
  return {
    queueMs: round(timing.queueMs, 2),
    decodeMs: round(timing.decodeMs, 2),
    encodeMs: round(timing.encodeMs, 2),
    mixupMs: round(timing.mixupMs, 2),
    captionMs: round(timing.captionMs, 2),
    scoreMs: round(timing.scoreMs, 2),
    totalMs: round(timing.totalMs, 2),
  };
}
