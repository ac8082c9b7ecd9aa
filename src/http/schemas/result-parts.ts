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
