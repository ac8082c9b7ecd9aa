import type { CaptionResult, ScoreResult } from '../captioner/results.js';

type Cell = string | number | boolean | null;

/** How results of one kind are written as rows. */
export interface Formatter<T> {
  /** Names of the cells of `rows`. */
  readonly columns: readonly string[];
  /** CSV: everything of the result that fits in a row. */
  readonly rows: (result: T) => readonly (readonly Cell[])[];
  /** Text: what a person wants to see, as one or more lines. */
  readonly lines: (result: T) => readonly (readonly string[])[];
  /** Names of the cells of `lines`, where these do not speak for themselves. */
  readonly heading?: readonly string[];
}

export const captionFormatter: Formatter<CaptionResult> = {
  columns: [
    'caption',
    'confidence',
    'clipScore',
    'logProb',
    'meanLogProb',
    'concepts',
    'tags',
    'width',
    'height',
    'format',
    'model',
  ],
  rows: ({ caption, confidence, clipScore, logProb, meanLogProb, concepts, tags, image, model }) => [
    [
      caption,
      confidence,
      clipScore,
      logProb,
      meanLogProb,
      concepts.map(({ word }) => word).join('; '),
      tags?.map(({ word }) => word).join('; ') ?? '',
      image.width,
      image.height,
      image.format,
      `${model.id} ${model.version}`,
    ],
  ],
  lines: ({ confidence, caption }) => [[confidence.toFixed(3), caption ?? '']],
};

/** For who asks for a number of candidates: in text, a line for each. */
export const candidatesFormatter: Formatter<CaptionResult> = {
  ...captionFormatter,
  lines: (result) =>
    result.caption === null
      ? captionFormatter.lines(result)
      : result.captions.map(({ confidence, text }) => [confidence.toFixed(3), text]),
};

export const scoreFormatter: Formatter<ScoreResult> = {
  heading: ['match', 'CLIPScore', 'cosine', 'text'],
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
