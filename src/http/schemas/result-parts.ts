import { Type } from 'typebox';
import { imageFormats } from '../../images/format.js';

/** What the answers about an image have in common. */

const strict = { additionalProperties: false };

export const milliseconds = (description: string) => Type.Number({ minimum: 0, description });

export const decodedImage = Type.Object(
  {
    width: Type.Integer({ minimum: 1, description: 'Pixels, after orientation.' }),
    height: Type.Integer({ minimum: 1, description: 'Pixels, after orientation.' }),
    format: Type.Enum([...imageFormats], { type: 'string' }),
  },
  strict,
);

export const servedModel = Type.Object({ id: Type.String(), version: Type.String() }, strict);

/** Parts of `timing`. */
export const queueMs = milliseconds('Waiting for the model, or for the answer to an identical request.');
export const decodeMs = milliseconds('Waiting for a decoder, and decoding.');
export const encodeMs = milliseconds('Image encoder, for the whole batch.');
export const totalMs = milliseconds('From the request’s headers to the answer.');
export const cached = Type.Boolean({
  description:
    'Whether the answer was made for an identical request, kept or still on its way; the stages of the model took no time then.',
});

/** Headers of an answer that has `timing`. */
export const timingHeaders = {
  'server-timing': Type.String({
    description:
      'The stages of `timing`, for browsers’ tools and proxies: `queue;dur=2.61, decode;dur=12.75, …`.',
  }),
};
