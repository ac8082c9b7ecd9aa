import { Type } from 'typebox';
import { CaptionOptionsSchema } from './caption-options.js';
import { captionExamples } from './caption-request.js';
import { CaptionResultSchema } from './caption-result.js';
import { base64, bytes, content, exampleBytes, examplePng, exampleUrl, formNote, url } from './image.js';
import { exampleProblem, ProblemSchema } from './problem.js';

const strict = { additionalProperties: false };
const options = CaptionOptionsSchema.properties;

/** Both ways to send many images; the options hold for all of them. */
export function captionBatchBody(maxImages: number) {
  const count = { minItems: 1, maxItems: maxImages };
  return {
    content: {
      'multipart/form-data': content(
        Type.Object(
          {
            image: Type.Array(bytes(), { ...count, description: 'The image files: the field repeats.' }),
            ...options,
          },
          { ...strict, title: 'CaptionBatchForm', description: formNote },
        ),
        {
          form: {
            summary: 'Files and options',
            value: { image: [exampleBytes, exampleBytes], candidates: 1 },
          },
        },
      ),
      'application/json': content(
        Type.Object(
          {
            images: Type.Array(
              Type.Union([
                Type.Object({ image: base64() }, { ...strict, title: 'ImageData' }),
                Type.Object({ url: url() }, { ...strict, title: 'ImageUrl' }),
              ]),
              count,
            ),
            ...options,
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

const BatchEntrySchema = Type.Union([
  Type.Object({ index, result: CaptionResultSchema }, { ...strict, title: 'CaptionedImage' }),
  Type.Object({ index, error: ProblemSchema }, { ...strict, title: 'FailedImage' }),
]);

const entries = [
  { index: 0, result: captionExamples.photo.value },
  { index: 1, error: exampleProblem('image_unreadable') },
] as const;

/** All at once, or each as it is done. */
export const captionBatchContent = {
  'application/json': {
    schema: Type.Object(
      {
        results: Type.Array(BatchEntrySchema, { description: 'One for each image, in the order sent.' }),
      },
      { ...strict, title: 'CaptionBatch' },
    ),
    examples: { batch: { summary: 'One of two images is damaged', value: { results: entries } } },
  },
  'application/x-ndjson': {
    schema: BatchEntrySchema,
    examples: {
      captioned: { summary: 'A line for an image that was captioned', value: entries[0] },
      failed: { summary: 'A line for one that was not', value: entries[1] },
    },
  },
};
