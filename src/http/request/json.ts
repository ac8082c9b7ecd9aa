import { ServiceError } from '../../errors.js';
import type { ImageSource } from '../../captioner/image-source.js';
import { type ParsedRequest, tooManyImages } from './parsed-request.js';

/**
 * Reads the JSON body of a call that takes one image: the image in base64 as the member `image` or its address as `url`,
 * options as the others.
 *
 * @throws ServiceError malformed_json
 */
export function readJson(body: unknown): ParsedRequest {
  if (!isObject(body)) throw malformed('The body must be a JSON object.');
  const { image, url, ...members } = body;
  return { images: sources(image, url), texts: [], members };
}

/**
 * Reads the JSON body of a batch: `images`, a list of objects with `image` or `url`, and options as the other members.
 *
 * @throws ServiceError malformed_json | too_many_images
 */
export function readBatchJson(body: unknown, maxImages: number): ParsedRequest {
  if (!isObject(body)) throw malformed('The body must be a JSON object.');
  const { images = [], ...members } = body;
  if (!Array.isArray(images)) throw malformed('"images" must be a list.');
  if (images.length > maxImages) throw tooManyImages(maxImages);
  return { images: images.map(batchSource), texts: [], members };
}

function batchSource(entry: unknown): ImageSource {
  const { image, url, ...others } = isObject(entry) ? entry : {};
  const [source, second] = sources(image, url);
  if (source === undefined || second !== undefined || Object.keys(others).length > 0) {
    throw malformed(
      'Each entry of "images" must be an object with either "image" or "url", and nothing else.',
    );
  }
  return source;
}

function sources(image: unknown, url: unknown): ImageSource[] {
  return [
    ...(image === undefined ? [] : [{ kind: 'base64' as const, text: image }]),
    ...(url === undefined ? [] : [{ kind: 'url' as const, url }]),
  ];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(detail: string): ServiceError {
  return new ServiceError('malformed_json', detail);
}
