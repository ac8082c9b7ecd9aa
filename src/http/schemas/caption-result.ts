import { type Static, Type } from 'typebox';
import {
  cached,
  decodedImage,
  decodeMs,
  encodeMs,
  milliseconds,
  queueMs,
  servedModel,
  totalMs,
} from './result-parts.js';

const strict = { additionalProperties: false };

const scores = {
  confidence: Type.Number({
    minimum: 0,
    maximum: 1,
    description:
      'Probability that the caption agrees with people as well as three quarters of human captions do.',
  }),
  clipScore: Type.Number({
    minimum: 0,
    maximum: 2.5,
    description:
      '2.5 · max(cos, 0) of caption and image (Hessel et al. 2021); comparable within one model only.',
  }),
  logProb: Type.Number({
    maximum: 0,
    description: 'Sum of the natural logarithms of the token probabilities, end of sentence included.',
  }),
  meanLogProb: Type.Number({ maximum: 0, description: '`logProb` divided by the number of tokens.' }),
};

const CandidateSchema = Type.Object(
  { text: Type.String({ description: 'A sentence with a capital letter and no full stop.' }), ...scores },
  { ...strict, title: 'Candidate', description: 'One of the captions found.' },
);

const ConceptSchema = Type.Object(
  {
    word: Type.String(),
    score: Type.Number({ minimum: 0, maximum: 1, description: 'Share in the detection softmax.' }),
    patches: Type.Optional(
      Type.Array(Type.Number(), {
        description: 'With `explain`: cosine of each patch with the concept, row by row.',
      }),
    ),
  },
  { ...strict, title: 'Concept', description: 'Something detected in the image.' },
);

export const CaptionResultSchema = Type.Object(
  {
    caption: Type.Union([Type.String(), Type.Null()], {
      description: 'The best caption, or null when `minConfidence` is not reached.',
    }),
    ...scores,
    captions: Type.Array(CandidateSchema, { description: 'The candidates, best first.' }),
    concepts: Type.Array(ConceptSchema, { description: 'Detected concepts, most certain first.' }),
    gridSize: Type.Optional(
      Type.Object(
        { rows: Type.Integer({ minimum: 1 }), columns: Type.Integer({ minimum: 1 }) },
        { ...strict, description: 'With `explain`: the grid that `patches` cover.' },
      ),
    ),
    image: decodedImage,
    model: servedModel,
    timing: Type.Object(
      {
        queueMs,
        decodeMs,
        encodeMs,
        mixupMs: milliseconds('Concept detection and fusion, for the whole batch.'),
        captionMs: milliseconds('Beam search, for the whole batch.'),
        scoreMs: milliseconds('Scores of the candidates, for the whole batch.'),
        totalMs,
        cached,
      },
      strict,
    ),
  },
  { ...strict, title: 'CaptionResult' },
);

export type CaptionResult = Static<typeof CaptionResultSchema>;
