import { ServiceError } from '../../errors.js';
import { addImageRoute, type Protocol, type ProtocolOptions } from '../../http/protocol.js';
import type { AdmittedRequest } from '../../http/admission-hook.js';
import type { ImageSource } from '../../captioner/image-source.js';
import { readForm } from '../../http/request/form.js';
import { onlyImage } from '../../http/request/parsed-request.js';
import { describe } from '../describe.js';
import { queryOf, refuseOtherLanguages } from '../permissive.js';

const path = '/img-alt-api';

/** The API that Phanpy asks for alt texts: an image in a form, or its address in the query. */
export const imgAltApi: Protocol = {
  name: 'img-alt-api',
  description: 'img-alt-api, as Phanpy calls it: `/img-alt-api`. Its pages need `CORS_ORIGINS`.',
  formatError: ({ detail }) => ({ body: { error: detail } }),
  routes(app, options) {
    addImageRoute(
      app,
      ['POST', path],
      { summary: 'Describe the image of a form, field `image`' },
      options,
      async (request, _reply, context) => {
        refuseOtherLanguages(queryOf(request).get('lang'));
        if (!request.isMultipart()) {
          throw new ServiceError('missing_image', 'Send the image as the form field "image".');
        }
        const form = await readForm(request, { maxBytes: options.maxBodyBytes, maxImages: 1 });
        if (form.images.length === 0) {
          throw new ServiceError('missing_image', 'Send the image as the form field "image".');
        }
        return answer(onlyImage(form), options, context);
      },
    );
    addImageRoute(
      app,
      ['GET', path],
      {
        summary: 'Describe the image at an address',
        querystring: { type: 'object', properties: { image: { type: 'string' }, lang: { type: 'string' } } },
      },
      options,
      async (request, _reply, context) => {
        const query = queryOf(request);
        refuseOtherLanguages(query.get('lang'));
        const url = query.get('image');
        if (url === null) throw new ServiceError('missing_image', 'Give the address of an image as image.');
        return answer({ kind: 'url', url }, options, context);
      },
    );
  },
};

async function answer(
  image: ImageSource,
  options: ProtocolOptions,
  context: AdmittedRequest,
): Promise<object> {
  const { caption } = await describe([image], options, context);
  return caption === null
    ? { error: 'The model is not confident enough of any caption.' }
    : { description: caption };
}
