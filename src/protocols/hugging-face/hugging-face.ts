import type { FastifyRequest } from 'fastify';
import type { ImageSource } from '../../captioner/image-source.js';
import { ServiceError } from '../../errors.js';
import { addImageRoute, type Protocol } from '../../http/protocol.js';
import { describe } from '../describe.js';
import { imageOfText } from '../images.js';
import { isObject } from '../permissive.js';

/**
 * Hugging Face's inference for image-to-text. Its clients for Python and for JavaScript disagree on the answer: a list of
 * one, or the object in it.
 */
export const huggingFace: Protocol = {
  name: 'hugging-face',
  description:
    'Hugging Face image-to-text: `/hugging-face`, or `/hugging-face/object` for clients that read an object in place of a list.',
  formatError: ({ detail }) => ({ body: { error: detail } }),
  routes(app, options) {
    for (const path of ['/hugging-face', '/hugging-face/object']) {
      addImageRoute(
        app,
        ['POST', path],
        {
          summary: path.endsWith('object')
            ? 'Caption an image: an object'
            : 'Caption an image: a list of one',
          description: 'The body is the image, or JSON with `inputs` in base64.',
          body: { type: 'object', additionalProperties: true, examples: [{ inputs: '(base64)' }] },
        },
        options,
        async (request, _reply, context) => {
          const { caption } = await describe([imageOf(request)], options, context);
          const text = { generated_text: caption ?? '' };
          const isObjectWanted = path.endsWith('object') || isJavaScript(request);
          return isObjectWanted ? text : [text];
        },
      );
    }
  },
};

function imageOf({ body }: FastifyRequest): ImageSource {
  if (Buffer.isBuffer(body)) return { kind: 'bytes', bytes: body };
  if (isObject(body) && body['inputs'] !== undefined) return imageOfText(body['inputs']);
  throw new ServiceError('missing_image', 'Send the image as the body, or JSON with "inputs" in base64.');
}

/** @huggingface/inference names itself, as `@huggingface/inference/4.0.0`. */
function isJavaScript({ headers }: FastifyRequest): boolean {
  return (headers['user-agent'] ?? '').includes('@huggingface/inference');
}
