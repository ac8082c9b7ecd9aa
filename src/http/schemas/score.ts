import { Type } from 'typebox';
import { ScoreOptionsSchema } from '../../captioner/options.js';
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
const options = ScoreOptionsSchema.properties;

const texts = ['A dog runs through the grass.', 'Two people at a table'];

/** An image and texts in a form. */
export const scoreForm = {
  content: {
    'multipart/form-data': content(
      Type.Object(
        { image: bytes('The image file.'), ...options },
        { ...strict, title: 'ScoreForm', description: formNote },
      ),
      { form: { summary: 'A file and two texts', value: { image: exampleBytes, texts } } },
    ),
  },
};

/** An image and texts in JSON. */
export const scoreJson = {
  content: {
    'application/json': content(
      Type.Object(
        { ...oneImage, ...options },
        { ...strict, title: 'ScoreRequest', description: oneImageNote },
      ),
      {
        image: { summary: 'An image and two texts', value: { image: examplePng, texts } },
        url: { summary: 'An image by its address', value: { url: exampleUrl, texts } },
      },
    ),
  },
};

export const scoreExamples = {
  photo: {
    summary: 'One text fits, the other does not',
    value: {
      scores: [
        { text: texts[0], cosine: 0.41, clipScore: 1.025, matchProbability: 0.986, truncated: false },
        { text: texts[1], cosine: -0.03, clipScore: 0, matchProbability: 0.004, truncated: false },
      ],
      image: { width: 1024, height: 768, format: 'jpeg' },
      model: { id: 'pcm-net-lite2', version: '0.4.1' },
      timing: { queueMs: 0.3, decodeMs: 6.1, encodeMs: 20.9, scoreMs: 4.2, totalMs: 32.8, cached: false },
    },
  },
};
