import { ServiceError } from '../../errors.js';
import { addImageRoute, type Protocol } from '../../http/protocol.js';
import { describe } from '../describe.js';
import { imageOfText } from '../images.js';
import { chooseModel } from '../models.js';
import { jsonBody, optionalText } from '../permissive.js';

/** Interrogators that AUTOMATIC1111's web interface has: one writes a sentence, the other words. */
const interrogators = { sentence: 'clip', words: 'deepdanbooru' };

/** The interrogation of AUTOMATIC1111's web interface, which is FastAPI's: errors have `detail`. */
export const a1111: Protocol = {
  name: 'a1111',
  description:
    'AUTOMATIC1111: `/sdapi/v1/interrogate`, with `model` clip (a sentence) or deepdanbooru (tags).',
  formatError: ({ detail }) => ({ body: { detail } }),
  routes(app, options) {
    addImageRoute(
      app,
      ['POST', '/sdapi/v1/interrogate'],
      {
        summary: 'Caption an image',
        body: {
          type: 'object',
          additionalProperties: true,
          examples: [{ image: '(base64)', model: 'clip' }],
        },
      },
      options,
      async (request, _reply, context) => {
        const body = jsonBody(request);
        const model = optionalText(body['model'], 'model') ?? interrogators.sentence;
        if (!Object.values(interrogators).includes(model)) chooseModel(model, options);
        if (optionalText(body['image'], 'image') === undefined) {
          throw new ServiceError('missing_image', 'Image not found');
        }
        const { caption, tags = [] } = await describe([imageOfText(body['image'])], options, context);
        const words = tags.map(({ word }) => word).join(', ');
        return { caption: model === interrogators.words ? words : (caption ?? '') };
      },
    );
  },
};
