import { type Static, Type } from 'typebox';
import { captionExamples, captionOptions } from './caption-request.js';
import { CaptionResultSchema } from '../../captioner/results.js';
import { ProblemSchema } from '../problem-details.js';
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
import { exampleProblem } from './problem-responses.js';

const strict = { additionalProperties: false };

/** Many images in a form; the options hold for all of them. */
export function captionBatchForm(maxImages: number) {
  return {
    content: {
      'multipart/form-data': content(
        Type.Object(
          {
            // How many files are taken is said in words: openapi-generator’s Go does not compile with a number.
            image: Type.Array(bytes(), {
              description: `The image files, at most ${maxImages}: the field repeats.`,
            }),
            ...captionOptions,
          },
          { ...strict, title: 'CaptionBatchForm', description: formNote },
        ),
        { form: { summary: 'Two files', value: { image: [exampleBytes, exampleBytes] } } },
      ),
    },
  };
}

const ImageSourceSchema = Type.Object(oneImage, {
  ...strict,
  title: 'ImageSource',
  description: oneImageNote,
});

/** Many images in JSON. */
export function captionBatchJson(maxImages: number) {
  return {
    content: {
      'application/json': content(
        Type.Object(
          {
            images: Type.Array(ImageSourceSchema, { minItems: 1, maxItems: maxImages }),
            ...captionOptions,
          },
          { ...strict, title: 'CaptionBatchRequest' },
        ),
        {
          images: {
            summary: 'Two images, one by its address',
            value: { images: [{ image: examplePng }, { url: exampleUrl }], candidates: 1 },
          },
        },
      ),
    },
  };
}

const index = Type.Integer({ minimum: 0, description: 'Place of the image in the request, from 0.' });

const CaptionedImageSchema = Type.Object(
  { index, outcome: Type.Literal('captioned'), result: CaptionResultSchema },
  { ...strict, title: 'CaptionedImage' },
);
const FailedImageSchema = Type.Object(
  { index, outcome: Type.Literal('failed'), error: ProblemSchema },
  { ...strict, title: 'FailedImage' },
);

/** What became of one image of a batch. */
export type BatchEntry = Static<typeof CaptionedImageSchema> | Static<typeof FailedImageSchema>;

const BatchEntrySchema = Type.Unsafe<BatchEntry>({
  title: 'BatchEntry',
  description: 'What became of one image: `outcome` says which of the two it is.',
  oneOf: [CaptionedImageSchema, FailedImageSchema],
  discriminator: {
    propertyName: 'outcome',
    mapping: {
      captioned: '#/components/schemas/CaptionedImage',
      failed: '#/components/schemas/FailedImage',
    },
  },
});

/** The answer as generated clients know it. Lines of NDJSON are for those who ask for them by hand. */
export const captionBatchContent = {
  'application/json': {
    schema: Type.Object(
      {
        results: Type.Array(BatchEntrySchema, { description: 'One for each image, in the order sent.' }),
      },
      { ...strict, title: 'CaptionBatch' },
    ),
    examples: {
      batch: {
        summary: 'One of two images is damaged',
        value: {
          results: [
            { index: 0, outcome: 'captioned', result: captionExamples.photo.value },
            { index: 1, outcome: 'failed', error: exampleProblem('image_unreadable') },
          ],
        },
      },
    },
  },
};
