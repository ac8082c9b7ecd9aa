import { Type } from 'typebox';

/** The ways an image is written in a request. */

export const bytes = (description?: string) =>
  Type.String({ format: 'binary', ...(description !== undefined && { description }) });

export const base64 = () =>
  Type.String({ contentEncoding: 'base64', description: 'The image file in base64.' });

export const url = () =>
  Type.String({
    format: 'uri',
    maxLength: 2048,
    description:
      'Address of the image, http or https; only where the service allows it (`ALLOW_URL_IMAGES`).',
  });

export const formNote = 'Lists repeat their key; booleans are `true` and `false`.';

/** A red 8×8 PNG. */
export const examplePng =
  'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC';

export const exampleUrl = 'https://images.example.org/dog.jpg';
