import type { MultipartFile, MultipartValue } from '@fastify/multipart';
import type { FastifyRequest } from 'fastify';
import { ServiceError } from '../../errors.js';
import type { ImageSource } from '../../captioner/image-source.js';
import { invalidOption, twoValues } from '../../captioner/options.js';
import { type ParsedRequest, type RequestLimits, tooManyImages } from './parsed-request.js';

/** Fields beside images: every option as often as its list allows, and room for mistakes to be named. */
const maxFields = 200;
/** Bytes of one field; the longest valid one is a list of texts in JSON. */
const maxFieldBytes = 64 * 1024;
/** Characters of a field of plain text; the longest valid one is a URL. */
const maxTextLength = 4096;

/**
 * Reads a multipart form: files in the field `image`, their addresses in `url`, options in the other fields. A field
 * of type `application/json` is what the member of a JSON body is, as clients generated for Java send numbers and lists.
 *
 * @throws ServiceError missing_image | too_many_images | malformed_multipart | invalid_option | body_too_large
 */
export async function readForm(
  request: FastifyRequest,
  { maxBytes, maxImages, onImage }: RequestLimits,
): Promise<ParsedRequest> {
  const images: ImageSource[] = [];
  const texts: [string, string][] = [];
  const members = new Map<string, unknown>();
  let bytes = 0;
  const parts = request.parts({
    limits: {
      fileSize: maxBytes,
      fields: maxFields,
      fieldSize: maxFieldBytes,
      parts: maxFields + maxImages + 1,
    },
    // Some clients give a part neither a file name nor a type; in the field `image` it is the image all the same.
    isPartAFile: (field, _type, fileName) => field === 'image' || fileName !== undefined,
  });
  // Called before the bytes of an image are read: a form with too many is refused at the first of them.
  const announceImage = (): void => {
    if (images.length === maxImages) throw tooManyImages(maxImages);
    onImage?.(images.length + 1);
  };
  try {
    for await (const part of parts) {
      if (part.type === 'field') {
        const { fieldname: name, mimetype, value } = part;
        if (name === 'url') {
          announceImage();
          images.push({ kind: 'url', url: value });
        } else if (mimetype === 'application/json') addMember(members, name, value);
        else texts.push([name, fieldText(part)]);
        continue;
      }
      if (part.fieldname !== 'image') {
        throw new ServiceError('missing_image', 'Send each file in the form field "image".');
      }
      announceImage();
      const image = await Promise.race([part.toBuffer(), tooLong(part, maxBytes)]);
      bytes += image.length;
      if (bytes > maxBytes) throw tooLarge(maxBytes);
      images.push({ kind: 'bytes', bytes: image });
    }
  } catch (error) {
    throw formProblem(error, maxBytes);
  }
  return { images, texts, members: Object.fromEntries(members) };
}

/** Rejects at once when a file is over its limit: the plugin would read it to its end, whenever that comes. */
function tooLong({ file }: MultipartFile, maxBytes: number): Promise<never> {
  return new Promise((_resolve, reject) => {
    file.once('limit', () => {
      reject(tooLarge(maxBytes));
    });
  });
}

function fieldText({ fieldname, value, valueTruncated }: MultipartValue): string {
  if (typeof value !== 'string' || value.length > maxTextLength || valueTruncated) {
    throw new ServiceError(
      'invalid_option',
      `The form field ${fieldname.slice(0, 40)} must be a short plain text.`,
    );
  }
  return value;
}

/**
 * Adds a field in JSON. The same value again is no other: for a list, clients that openapi-generator makes for Java send a
 * field for each item, and the whole list in each of them.
 */
function addMember(members: Map<string, unknown>, name: string, value: unknown): void {
  const items: unknown[] = Array.isArray(value) ? value : [value];
  // Options are no deeper than a list, and what follows is not made for deeper ones.
  if (items.some((item) => typeof item === 'object' && item !== null)) {
    throw invalidOption(`The form field ${name.slice(0, 40)} must be a value or a list of values.`);
  }
  if (members.has(name) && JSON.stringify(members.get(name)) !== JSON.stringify(value)) {
    throw twoValues(name);
  }
  members.set(name, value);
}

/** The plugin's errors and the parser's as problems; the parser's have no code, and all mean a malformed form. */
function formProblem(error: unknown, maxBytes: number): ServiceError {
  if (error instanceof ServiceError) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'FST_REQ_FILE_TOO_LARGE') return tooLarge(maxBytes);
  if (code === 'FST_FIELDS_LIMIT' || code === 'FST_PARTS_LIMIT' || code === 'FST_FILES_LIMIT') {
    return new ServiceError('body_too_large', 'The form has too many parts.');
  }
  if (code === 'FST_PROTO_VIOLATION' || code === 'FST_INVALID_JSON_FIELD_ERROR') {
    return new ServiceError('invalid_option', 'A form field has a name or a type that no option has.');
  }
  const problem = new ServiceError(
    'malformed_multipart',
    'The form is cut short, or its boundary does not match.',
  );
  problem.cause = error;
  return problem;
}

function tooLarge(maxBytes: number): ServiceError {
  return new ServiceError('body_too_large', `The body may have at most ${maxBytes} bytes.`);
}
