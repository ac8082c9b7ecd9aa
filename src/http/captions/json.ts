import { ServiceError } from '../../problem.js';
import type { Submission } from './submission.js';

/**
 * Reads a JSON body: the image in base64 as the member `image`, options as the others.
 *
 * @throws ServiceError malformed_json | invalid_base64
 */
export function readJson(body: unknown): Submission {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new ServiceError('malformed_json', 'The body must be a JSON object.');
  }
  const { image, ...members }: { image?: unknown } = body;
  if (image === undefined) return { images: [], texts: [], members };
  if (typeof image !== 'string') {
    throw new ServiceError('invalid_base64', '"image" must be a text: the bytes of the image in base64.');
  }
  return { images: [fromBase64(image)], texts: [], members };
}

/**
 * Decodes base64 (RFC 4648, either alphabet, with or without padding). Node's decoder skips what it does not know,
 * so anything skipped shows in the length: cheaper than a pattern over megabytes.
 */
function fromBase64(text: string): Buffer {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const digits = text.length - padding;
  const bytes = Buffer.from(text, 'base64');
  if (
    (padding > 0 && text.length % 4 !== 0) ||
    digits % 4 === 1 ||
    bytes.length !== Math.floor((digits * 3) / 4)
  ) {
    throw new ServiceError('invalid_base64', '"image" is not valid base64 (send it without a data: prefix).');
  }
  return bytes;
}
