import type { CaptionResult } from '../http/schemas/caption-result.js';
import type { ScoreResult } from '../http/schemas/score.js';

type Cell = string | number | boolean | null;

/** How results of one kind are written as rows. */
export interface Layout<T> {
  /** Names of the cells of `rows`. */
  readonly columns: readonly string[];
  /** CSV: everything of the result that fits in a row. */
  readonly rows: (result: T) => readonly (readonly Cell[])[];
  /** Text: what a person wants to see, as one or more lines. */
  readonly lines: (result: T) => readonly (readonly string[])[];
}

export const captionLayout: Layout<CaptionResult> = {
  columns: [
    'caption',
    'confidence',
    'clipScore',
    'logProb',
    'meanLogProb',
    'concepts',
    'width',
    'height',
    'format',
    'model',
  ],
  rows: ({ caption, confidence, clipScore, logProb, meanLogProb, concepts, image, model }) => [
    [
      caption,
      confidence,
      clipScore,
      logProb,
      meanLogProb,
      concepts.map(({ word }) => word).join('; '),
      image.width,
      image.height,
      image.format,
      `${model.id} ${model.version}`,
    ],
  ],
  lines: ({ confidence, caption }) => [[confidence.toFixed(3), caption ?? '']],
};

export const scoreLayout: Layout<ScoreResult> = {
  columns: ['text', 'matchProbability', 'clipScore', 'cosine', 'truncated'],
  rows: ({ scores }) =>
    scores.map(({ text, matchProbability, clipScore, cosine, truncated }) => [
      text,
      matchProbability,
      clipScore,
      cosine,
      truncated,
    ]),
  lines: ({ scores }) =>
    scores.map(({ text, matchProbability, clipScore, cosine }) => [
      matchProbability?.toFixed(3) ?? '-',
      clipScore.toFixed(3),
      cosine.toFixed(3),
      text,
    ]),
};
