import { Type } from 'typebox';
import { imageFormats } from '../../images/format.js';

/** The ways an image is written in a request. */

/** Stands for bytes, which JSON cannot show. */
export const exampleBytes = '(bytes)';

export const bytes = (description?: string) =>
  Type.String({ format: 'binary', ...(description !== undefined && { description }) });

export const base64 = () =>
  Type.String({ contentEncoding: 'base64', format: 'byte', description: 'The image file in base64.' });

export const url = () =>
  Type.String({
    format: 'uri',
    maxLength: 2048,
    description:
      'Address of the image, http or https; only where the service allows it (`ALLOW_URL_IMAGES`).',
  });

/** The content of a request in one media type; the swagger plugin takes examples from inside the schema. */
export function content(schema: Type.TSchema, examples: Readonly<Record<string, Example>>) {
  return { schema: { ...schema, 'x-examples': examples } };
}

interface Example {
  readonly summary: string;
  readonly value: unknown;
}

/** Images as the body itself, whatever their format. */
export const rawImages = Object.fromEntries(
  imageFormats.map((format) => [
    `image/${format}`,
    content(bytes(), { file: { summary: 'The bytes of the file', value: exampleBytes } }),
  ]),
);

export const formNote = 'Lists repeat their key; booleans are `true` and `false`.';

/** A red 8×8 PNG. */
export const examplePng =
  'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC';

export const exampleUrl = 'https://images.example.org/dog.jpg';
