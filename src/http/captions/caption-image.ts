import type { Engine } from '../../engine/engine.js';
import type { Decoder } from '../../images/decoder.js';
import type { CaptionOutcome } from '../../runtime/messages.js';
import type { CaptionResult } from '../schemas/caption-result.js';
import type { Admission } from './admission.js';
import type { ReadOptions } from './read-options.js';

export interface Captioning {
  readonly engine: Engine;
  readonly decoder: Decoder;
  readonly maxPixels: number;
}

/**
 * The way of one image: decoded to the bundle's pixels, captioned by the engine, shaped for the client.
 *
 * @throws ServiceError of the decoder and of the engine
 */
export async function captionImage(
  { engine, decoder, maxPixels }: Captioning,
  bytes: Buffer,
  { options, minConfidence }: ReadOptions,
  { reservation, startedAt, deadline, signal }: Admission,
): Promise<CaptionResult> {
  const { bundle } = engine;
  const decodingFrom = performance.now();
  const { pixels, ...image } = await decoder(bytes, bundle.image, { maxPixels, deadline, signal });
  const decodeMs = performance.now() - decodingFrom;
  const { outcome, queueMs } = await reservation.submit({ kind: 'caption', pixels, options });
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
      cached: false,
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

/** Digits beyond what the model's arithmetic holds, or a clock measures, only suggest a precision they lack. */
function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
