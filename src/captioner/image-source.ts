import { ServiceError } from '../errors.js';
import type { FetchImage } from '../images/fetch-image.js';

/** An image as it was sent. Nothing of it has been looked at, so that in a batch a bad image fails alone. */
export type ImageSource =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  /** A JSON member that should be a text in base64. */
  | { readonly kind: 'base64'; readonly text: unknown }
  /** A JSON member or a field that should be a URL. */
  | { readonly kind: 'url'; readonly url: unknown };

export interface SourceLimits {
  /** Absent where images may not be given by URL. */
  readonly fetchImage?: FetchImage | undefined;
  readonly maxBytes: number;
}

/**
 * The bytes of an image file.
 *
 * @throws ServiceError invalid_base64 | url_not_allowed | url_unreachable | body_too_large
 */
export async function readBytes(
  source: ImageSource,
  { fetchImage, maxBytes }: SourceLimits,
  signal: AbortSignal,
): Promise<Buffer> {
  switch (source.kind) {
    case 'bytes':
      return source.bytes;
    case 'base64':
      return fromBase64(source.text);
    case 'url':
      if (fetchImage === undefined) {
        throw new ServiceError('url_not_allowed', 'Send the image itself; this service fetches no URLs.');
      }
      if (typeof source.url !== 'string') throw new ServiceError('url_not_allowed', 'url must be a text.');
      return fetchImage(source.url, { maxBytes, signal });
  }
}

const dataPrefix = /^data:[^,]{0,100};base64,/i;

/**
 * Decodes base64 (RFC 4648, either alphabet, with or without padding), also with a `data:` prefix and line breaks.
 * Node's decoder skips what it does not know, so anything skipped shows in the length: cheaper than a pattern over
 * megabytes.
 *
 * @throws ServiceError invalid_base64
 */
export function fromBase64(text: unknown): Buffer {
  if (typeof text !== 'string') {
    throw new ServiceError('invalid_base64', '"image" must be a text: the bytes of the image in base64.');
  }
  const [prefix = ''] = dataPrefix.exec(text) ?? [];
  let end = text.length;
  while (/[\r\n]/.test(text.charAt(end - 1))) end -= 1;
  const digits = text.slice(prefix.length, end);
  const padding = digits.endsWith('==') ? 2 : digits.endsWith('=') ? 1 : 0;
  const written = digits.length - count(digits, '\n') - count(digits, '\r');
  const length = written - padding;
  const bytes = Buffer.from(digits, 'base64');
  if (
    (padding > 0 && written % 4 !== 0) ||
    length % 4 === 1 ||
    bytes.length !== Math.floor((length * 3) / 4)
  ) {
    throw new ServiceError('invalid_base64', '"image" is not valid base64.');
  }
  return bytes;
}

/** How often a letter occurs: a tenth of what a pattern takes. */
function count(text: string, letter: string): number {
  let found = 0;
  for (let at = text.indexOf(letter); at !== -1; at = text.indexOf(letter, at + 1)) found += 1;
  return found;
}
