import type { FastifyRequest } from 'fastify';
import type { ImageSource } from '../../captioner/image-source.js';
import { ServiceError } from '../../errors.js';
import { readForm } from './form.js';
import { readBatchJson, readJson } from './json.js';
import { type ParsedRequest, type RequestLimits, tooManyImages } from './parsed-request.js';

/** Details of `missing_image`. */
const howToSendOne =
  'Send an image as the form field "image", as the body with its image/… type, or as "image" in base64 in JSON.';
const howToSendMany =
  'Send images as form fields "image", or in JSON as "images": a list of objects with "image" in base64.';

/**
 * Reads an image and options from a multipart form, an image as the body, or JSON, and options and an address from
 * the query too.
 *
 * @throws ServiceError missing_image | too_many_images | malformed_multipart | malformed_json | invalid_option |
 *   body_too_large
 */
export async function readRequest(request: FastifyRequest, limits: RequestLimits): Promise<ParsedRequest> {
  return withQuery(request, await readOne(request, limits), limits, howToSendOne);
}

async function readOne(request: FastifyRequest, limits: RequestLimits): Promise<ParsedRequest> {
  const { body } = request;
  if (request.isMultipart()) return readForm(request, limits);
  if (Buffer.isBuffer(body)) return ofImages({ kind: 'bytes', bytes: body });
  return body === undefined ? ofImages() : readJson(body);
}

/**
 * Reads a batch from a multipart form or JSON, and options from the query too.
 *
 * @throws ServiceError missing_image | too_many_images | malformed_multipart | malformed_json | invalid_option |
 *   body_too_large | unsupported_media_type
 */
export async function readBatch(request: FastifyRequest, limits: RequestLimits): Promise<ParsedRequest> {
  return withQuery(request, await readMany(request, limits), limits, howToSendMany);
}

async function readMany(request: FastifyRequest, limits: RequestLimits): Promise<ParsedRequest> {
  const { body } = request;
  if (request.isMultipart()) return readForm(request, limits);
  if (Buffer.isBuffer(body)) {
    throw new ServiceError('unsupported_media_type', 'Send multipart/form-data or application/json.');
  }
  return body === undefined ? ofImages() : readBatchJson(body, limits.maxImages);
}

/** Whether the body has a place for options, as forms and JSON have. */
export function hasOptionsInBody(request: FastifyRequest): boolean {
  return request.isMultipart() || !(request.body === undefined || Buffer.isBuffer(request.body));
}

export function queryOf(request: FastifyRequest): URLSearchParams {
  return new URL(request.url, 'http://localhost').searchParams;
}

function ofImages(...images: readonly ImageSource[]): ParsedRequest {
  return { images, texts: [], members: {} };
}

function withQuery(
  request: FastifyRequest,
  { images, texts, members }: ParsedRequest,
  { maxImages }: RequestLimits,
  howToSend: string,
): ParsedRequest {
  const query = [...queryOf(request)];
  const urls = query.filter(([name]) => name === 'url').map(([, url]) => ({ kind: 'url' as const, url }));
  const all = [...urls, ...images];
  if (all.length === 0) throw new ServiceError('missing_image', howToSend);
  if (all.length > maxImages) throw tooManyImages(maxImages);
  return { images: all, texts: [...query.filter(([name]) => name !== 'url'), ...texts], members };
}
