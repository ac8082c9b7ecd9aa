import { Type } from 'typebox';
import { CaptionOptionsSchema } from '../../captioner/options.js';
import {
  bytes,
  content,
  exampleBytes,
  examplePng,
  exampleUrl,
  formNote,
  oneImage,
  oneImageNote,
} from './image.js';

const strict = { additionalProperties: false };
/** The options as a request gives them, none of which is required. */
export const captionOptions = Type.Partial(CaptionOptionsSchema).properties;

/** One image in a form. */
export const captionForm = {
  content: {
    'multipart/form-data': content(
      Type.Object(
        { image: bytes('The image file.'), ...captionOptions },
        { ...strict, title: 'CaptionForm', description: formNote },
      ),
      { form: { summary: 'A file', value: { image: exampleBytes } } },
    ),
  },
};

/** One image in JSON. */
export const captionJson = {
  content: {
    'application/json': content(
      Type.Object(
        { ...oneImage, ...captionOptions },
        { ...strict, title: 'CaptionRequest', description: oneImageNote },
      ),
      {
        image: { summary: 'An image and nothing else', value: { image: examplePng } },
        options: {
          summary: 'Five candidates without a word, and where concepts were found',
          value: { image: examplePng, candidates: 5, avoidWords: ['photo'], explain: true },
        },
        url: { summary: 'An image by its address', value: { url: exampleUrl } },
      },
    ),
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
        { word: 'dog', share: 0.83, score: 0.83 },
        { word: 'grass', share: 0.09, score: 0.09 },
      ],
      image: { width: 1024, height: 768, format: 'jpeg' },
      model: { id: 'pcm-net-lite2', version: '0.4.1' },
      timing: { ...timing, totalMs: 70.3, cached: false },
    },
  },
};
