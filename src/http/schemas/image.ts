import { Type } from 'typebox';

/** The ways an image is written in a request. */

/** Stands for bytes, which JSON cannot show. */
export const exampleBytes = '(bytes)';

export const bytes = (description?: string) =>
  Type.String({ format: 'binary', ...(description !== undefined && { description }) });

export const base64 = () =>
  Type.String({ contentEncoding: 'base64', format: 'byte', description: 'The image file in base64.' });

const url = () =>
  Type.String({
    format: 'uri',
    maxLength: 2048,
    description:
      'Address of the image, http or https; only where the service allows it (`ALLOW_URL_IMAGES`).',
  });

/** An image in JSON; that it is one of the two is said in words, since unions of such objects have no discriminator. */
export const oneImage = { image: Type.Optional(base64()), url: Type.Optional(url()) };
export const oneImageNote = 'Either `image` or `url` is given.';

/** The content of a request in one media type; the swagger plugin takes examples from inside the schema. */
export function content(schema: Type.TSchema, examples: Readonly<Record<string, Example>>) {
  return { schema: { ...schema, 'x-examples': examples } };
}

interface Example {
  readonly summary: string;
  readonly value: unknown;
}

/** For operations that take a form: openapi-generator’s Java then has a method for each option, not 12 parameters in a row. */
export const groupedParameters = { 'x-group-parameters': true };

/** For the operations in JSON. */
export const ownPathNote =
  'Generated clients need an operation for each media type; the path without `/json` takes the same body.';

export const formNote = 'Lists repeat their key; booleans are `true` and `false`.';

/** A red 8×8 PNG. */
export const examplePng =
  'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC';

export const exampleUrl = 'https://images.example.org/dog.jpg';

/** Headers of an answer that has `timing`. */
export const timingHeaders = {
  'server-timing': Type.String({
    description:
      'The stages of `timing`, for browsers’ tools and proxies: `queue;dur=2.61, decode;dur=12.75, …`.',
  }),
};
