import { type Static, Type } from 'typebox';
import {
  base64,
  bytes,
  content,
  exampleBytes,
  examplePng,
  exampleUrl,
  formNote,
  rawImages,
  url,
} from './image.js';
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

/** What is asked about an image: the one list of texts, for validation, types and the reference alike. */
export const ScoreOptionsSchema = Type.Object(
  {
    texts: Type.Array(Type.String({ minLength: 1, maxLength: 500, pattern: '\\S', description: 'a text' }), {
      minItems: 1,
      maxItems: 64,
      description: 'Texts that may describe the image, in English.',
    }),
  },
  strict,
);
const options = ScoreOptionsSchema.properties;

const texts = ['A dog runs through the grass.', 'Two people at a table'];

export const scoreBody = {
  content: {
    'multipart/form-data': content(
      Type.Object(
        { image: bytes('The image file.'), ...options },
        { ...strict, title: 'ScoreForm', description: formNote },
      ),
      { form: { summary: 'Files and options', value: { image: exampleBytes, texts } } },
    ),
    'application/json': content(
      Type.Union([
        Type.Object({ image: base64(), ...options }, { ...strict, title: 'ScoreRequest' }),
        Type.Object({ url: url(), ...options }, { ...strict, title: 'ScoreUrlRequest' }),
      ]),
      {
        image: { summary: 'An image and two texts', value: { image: examplePng, texts } },
        url: { summary: 'An image by its address', value: { url: exampleUrl, texts } },
      },
    ),
    ...rawImages,
  },
};

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
    image: decodedImage,
    model: servedModel,
    timing: Type.Object(
      {
        queueMs,
        decodeMs,
        encodeMs,
        scoreMs: milliseconds('Text encoder and scores, for the whole batch.'),
        totalMs,
        cached,
      },
      strict,
    ),
  },
  { ...strict, title: 'ScoreResult' },
);

export type ScoreResult = Static<typeof ScoreResultSchema>;

export const scoreExamples = {
  photo: {
    summary: 'One text fits, the other does not',
    value: {
      scores: [
        { text: texts[0], cosine: 0.41, clipScore: 1.025, matchProbability: 0.986, truncated: false },
        { text: texts[1], cosine: -0.03, clipScore: 0, matchProbability: 0.004, truncated: false },
      ],
      image: { width: 1024, height: 768, format: 'jpeg' },
      model: { id: 'pcm-net-lite2', version: '0.4.0' },
      timing: { queueMs: 0.3, decodeMs: 6.1, encodeMs: 20.9, scoreMs: 4.2, totalMs: 32.8, cached: false },
    },
  },
};
