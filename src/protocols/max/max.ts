import { ServiceError } from '../../errors.js';
import { addImageRoute, type Protocol } from '../../http/protocol.js';
import { readForm } from '../../http/request/form.js';
import { onlyImage } from '../../http/request/parsed-request.js';
import { describe } from '../describe.js';

/** The Image Caption Generator of IBM's Model Asset Exchange. */
export const max: Protocol = {
  name: 'max',
  description: 'IBM Model Asset Exchange: `/model/predict` and `/model/metadata`.',
  formatError: ({ detail }) => ({ body: { status: 'error', message: detail } }),
  routes(app, options) {
    addImageRoute(
      app,
      ['POST', '/model/predict'],
      { summary: 'Caption the image of a form, field `image`' },
      options,
      async (request, _reply, context) => {
        const form = request.isMultipart()
          ? await readForm(request, { maxBytes: options.maxBodyBytes, maxImages: 1 })
          : undefined;
        if (form === undefined || form.images.length === 0) {
          throw new ServiceError('missing_image', 'Send the image as the form field "image".');
        }
        const { results } = await describe([onlyImage(form)], options, context);
        const captions = results.flatMap(({ caption, captions: all }) => (caption === null ? [] : all));
        return {
          status: 'ok',
          predictions: captions.map(({ text, confidence }, index) => ({
            index: String(index),
            caption: text,
            probability: confidence,
          })),
        };
      },
    );
    app.get('/model/metadata', {
      schema: { summary: 'What the model is' },
      handler: () => {
        const { id, description, licence } = options.scheduler.model.bundle;
        return {
          id,
          name: id,
          description,
          type: 'Image-to-Text Translation',
          source: 'pcm-caption',
          license: licence,
        };
      },
    });
  },
};
