import { Type } from 'typebox';
import { imageFormats } from '../../images/format.js';
import { CaptionOptionsSchema } from './caption-options.js';

const strict = { additionalProperties: false };
const options = CaptionOptionsSchema.properties;
const bytes = (description?: string) =>
  Type.String({ format: 'binary', ...(description !== undefined && { description }) });

/** The options again, for a raw body, whose bytes have no room for them. */
export const captionQuery = CaptionOptionsSchema;

const CaptionForm = Type.Object(
  { image: bytes('The image file.'), ...options },
  {
    ...strict,
    title: 'CaptionForm',
    description: 'Lists repeat their key; booleans are `true` and `false`.',
  },
);

const CaptionJson = Type.Object(
  { image: Type.String({ contentEncoding: 'base64', description: 'The image file in base64.' }), ...options },
  { ...strict, title: 'CaptionJson' },
);

/** A red 8×8 PNG. */
const examplePng =
  'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC';

/** Every way to send one image. */
export const captionBody = {
  content: {
    'multipart/form-data': { schema: CaptionForm },
    'application/json': {
      schema: {
        ...CaptionJson,
        'x-examples': {
          image: { summary: 'An image and nothing else', value: { image: examplePng } },
          options: {
            summary: 'Five candidates without a word, and where concepts were found',
            value: { image: examplePng, candidates: 5, avoidWords: ['photo'], explain: true },
          },
        },
      },
    },
    ...Object.fromEntries(imageFormats.map((format) => [`image/${format}`, { schema: bytes() }])),
  },
};

const scores = { confidence: 0.712, clipScore: 0.862, logProb: -6.31, meanLogProb: -0.573 };
const timing = { queueMs: 0.4, decodeMs: 6.2, encodeMs: 21.5, mixupMs: 1.1, captionMs: 34.8, scoreMs: 5.9 };

export const captionExamples = {
  photo: {
    summary: 'A photo',
    value: {
      caption: 'A brown dog runs through the grass',
      ...scores,
      captions: [
        { text: 'A brown dog runs through the grass', ...scores },
        {
          text: 'A dog runs in a field',
          confidence: 0.641,
          clipScore: 0.83,
          logProb: -6.9,
          meanLogProb: -0.767,
        },
      ],
      concepts: [
        { word: 'dog', score: 0.83 },
        { word: 'grass', score: 0.09 },
      ],
      image: { width: 1024, height: 768, format: 'jpeg' },
      model: { id: 'pcm-net-lite2', version: '0.1.0' },
      timing: { ...timing, totalMs: 70.3, cached: false },
    },
  },
};
