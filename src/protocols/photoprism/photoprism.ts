import type { ImageSource } from '../../captioner/image-source.js';
import { addImageRoute, type Protocol } from '../../http/protocol.js';
import { describe } from '../describe.js';
import { imagesOfTexts } from '../images.js';
import { chooseModel } from '../models.js';
import { jsonBody, type JsonObject, listOf, optionalText } from '../permissive.js';

/** PhotoPrism's Vision API, as its `pkg`s have it: `code` is an integer, `model` an object. */
export const photoprism: Protocol = {
  name: 'photoprism',
  description: 'PhotoPrism Vision: `/api/v1/vision/caption` and `/api/v1/vision/labels`.',
  // It retries a 429, and not a 503.
  formatError: ({ code, detail }, status) => {
    const own = code === 'queue_full' ? 429 : status;
    return { status: own, body: { code: own, error: detail } };
  },
  routes(app, options) {
    const { scheduler } = options;

    const answerTo = (id: string | undefined, result: object) => {
      const { bundle } = scheduler.model;
      return { id: id ?? '', code: 200, model: { name: bundle.id, version: bundle.version }, result };
    };

    addImageRoute(
      app,
      ['POST', '/api/v1/vision/caption'],
      { summary: 'Caption an image', body: exampleBody },
      options,
      async (request, reply, context) => {
        const body = jsonBody(request);
        chooseModel(optionalText(body['model'], 'model'), options);
        const { caption, confidence } = await describe(imagesOf(body), options, context);
        if (caption === null) {
          const error = 'The model is not confident enough of any caption.';
          return reply.code(422).send({ code: 422, error });
        }
        return answerTo(optionalText(body['id'], 'id'), {
          caption: { text: caption, source: 'image', confidence },
        });
      },
    );
    addImageRoute(
      app,
      ['POST', '/api/v1/vision/labels'],
      { summary: 'Label an image', body: exampleBody },
      options,
      async (request, _reply, context) => {
        const body = jsonBody(request);
        chooseModel(optionalText(body['model'], 'model'), options);
        const { tags = [] } = await describe(imagesOf(body), options, context);
        return answerTo(optionalText(body['id'], 'id'), {
          labels: tags.map(({ word, probability }) => ({
            name: word,
            source: 'image',
            priority: 0,
            confidence: probability,
            topicality: probability,
            categories: [],
          })),
        });
      },
    );
  },
};

const exampleBody = {
  type: 'object',
  additionalProperties: true,
  examples: [{ id: 'a1', images: ['data:image/jpeg;base64,…'] }],
};

function imagesOf({ images, url }: JsonObject): ImageSource[] {
  return imagesOfTexts([...listOf(images), ...listOf(url)]);
}
