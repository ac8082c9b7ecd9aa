import type { FastifyRequest } from 'fastify';
import type { ImageSource } from '../../captioner/image-source.js';
import { invalidOption } from '../../captioner/options.js';
import { ServiceError } from '../../errors.js';
import { isObject } from '../permissive.js';

/** The image of a request: the body's bytes, or the address in its JSON. */
export function imageOf({ body }: FastifyRequest): ImageSource {
  if (Buffer.isBuffer(body)) return { kind: 'bytes', bytes: body };
  if (isObject(body) && body['url'] !== undefined) return { kind: 'url', url: body['url'] };
  throw new ServiceError('missing_image', 'Send the image as the body, or {"url": …}.');
}

/**
 * The features that a request asks for, in lower case.
 *
 * @param known names of the features that there are
 * @throws ServiceError invalid_option: it names a feature that there is not
 */
export function featuresOf(parameter: string | null, known: readonly string[]): Set<string> {
  const asked = (parameter ?? '').split(',').flatMap((name) => (name.trim() === '' ? [] : [name.trim()]));
  const unknown = asked.find((name) => !known.some((each) => each.toLowerCase() === name.toLowerCase()));
  if (unknown !== undefined) {
    throw invalidOption(`The feature ${unknown.slice(0, 40)} is not there; there are ${known.join(', ')}.`);
  }
  return new Set(asked.map((name) => name.toLowerCase()));
}
