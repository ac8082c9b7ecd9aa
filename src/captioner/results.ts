import { type Static, Type } from 'typebox';
import { imageFormats } from '../images/format.js';

const strict = { additionalProperties: false };

const milliseconds = (description: string) => Type.Number({ minimum: 0, description });

/** The first and the last parts of `timing` of every answer about an image. */
const firstStages = {
  queueMs: milliseconds('Waiting for the model, or for the answer to an identical request.'),
  decodeMs: milliseconds('Waiting for a decoder, and decoding.'),
  encodeMs: milliseconds('Image encoder, for the whole batch.'),
};
const totals = {
  totalMs: milliseconds('From the request’s headers to the answer.'),
  cached: Type.Boolean({
    description:
      'Whether the answer was made for an identical request, kept or still on its way; the stages of the model took no time then.',
  }),
};

const imageFacts = Type.Object(
  {
    width: Type.Integer({ minimum: 1, description: 'Pixels, after orientation.' }),
    height: Type.Integer({ minimum: 1, description: 'Pixels, after orientation.' }),
    format: Type.Enum([...imageFormats], { type: 'string', title: 'ImageFormat' }),
  },
  { ...strict, title: 'ImageFacts' },
);

export type ImageFacts = Static<typeof imageFacts>;

/** The bundle that answered. */
export const modelName = Type.Object(
  { id: Type.String(), version: Type.String() },
  { ...strict, title: 'ModelName' },
);

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
    share: Type.Number({
      minimum: 0,
      maximum: 1,
      description:
        'Share in the detection softmax: shares of all concepts sum to 1, and are no probabilities.',
    }),
    score: Type.Number({ minimum: 0, maximum: 1, deprecated: true, description: 'The same as `share`.' }),
    patches: Type.Optional(
      Type.Array(Type.Number(), {
        description: 'With `explain`: cosine of each patch with the concept, row by row.',
      }),
    ),
  },
  { ...strict, title: 'Concept', description: 'Something detected in the image.' },
);

const TagSchema = Type.Object(
  {
    word: Type.String(),
    probability: Type.Number({
      minimum: 0,
      maximum: 1,
      description: 'Probability that at least two of five people would name it.',
    }),
  },
  { ...strict, title: 'Tag', description: 'A word for search, with its own probability.' },
);

export type Tag = Static<typeof TagSchema>;

export const CaptionResultSchema = Type.Object(
  {
    caption: Type.Union([Type.String(), Type.Null()], {
      description: 'The best caption, or null when `minConfidence` is not reached.',
    }),
    ...scores,
    captions: Type.Array(CandidateSchema, { description: 'The candidates, best first.' }),
    concepts: Type.Array(ConceptSchema, { description: 'Detected concepts, most certain first.' }),
    tags: Type.Optional(
      Type.Array(TagSchema, {
        description: 'Words for search, most probable first; absent when the model has no tags.',
      }),
    ),
    gridSize: Type.Optional(
      Type.Object(
        { rows: Type.Integer({ minimum: 1 }), columns: Type.Integer({ minimum: 1 }) },
        { ...strict, title: 'GridSize', description: 'With `explain`: the grid that `patches` cover.' },
      ),
    ),
    image: imageFacts,
    model: modelName,
    timing: Type.Object(
      {
        ...firstStages,
        mixupMs: milliseconds('Concept detection and fusion, for the whole batch.'),
        captionMs: milliseconds('Beam search, for the whole batch.'),
        scoreMs: milliseconds('Scores of the candidates, for the whole batch.'),
        ...totals,
      },
      { ...strict, title: 'CaptionTiming' },
    ),
  },
  { ...strict, title: 'CaptionResult' },
);

export type CaptionResult = Static<typeof CaptionResultSchema>;

const TextScoreSchema = Type.Object(
  {
    text: Type.String(),
    cosine: Type.Number({ minimum: -1, maximum: 1, description: 'Of the embeddings of text and image.' }),
    clipScore: Type.Number({
      minimum: 0,
      maximum: 2.5,
      description: '2.5 · max(cos, 0) (Hessel et al. 2021); comparable within one model only.',
    }),
    matchProbability: Type.Union([Type.Number({ minimum: 0, maximum: 1 }), Type.Null()], {
      description:
        'Probability that the text belongs to this image and not to a random other photo, when both are as likely beforehand. Null when the model has no calibration for it.',
    }),
    truncated: Type.Boolean({
      description: 'Whether the text was too long for the model, and its end not read.',
    }),
  },
  { ...strict, title: 'TextScore', description: 'How well one text fits the image.' },
);

export const ScoreResultSchema = Type.Object(
  {
    scores: Type.Array(TextScoreSchema, { description: 'One for each text, in the order sent.' }),
    image: imageFacts,
    model: modelName,
    timing: Type.Object(
      {
        ...firstStages,
        scoreMs: milliseconds('Text encoder and scores, for the whole batch.'),
        ...totals,
      },
      { ...strict, title: 'ScoreTiming' },
    ),
  },
  { ...strict, title: 'ScoreResult' },
);

export type ScoreResult = Static<typeof ScoreResultSchema>;
