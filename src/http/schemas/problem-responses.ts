import { Type } from 'typebox';
import { type ErrorCode, errorCodes, ServiceError } from '../../errors.js';
import {
  type Problem,
  problemDocument,
  problemMediaType,
  ProblemSchema,
  statusOf,
} from '../problem-details.js';

/** What may be wrong with any request. */
export const anyProblems = ['headers_too_large', 'internal'] as const satisfies readonly ErrorCode[];

/** What may be wrong with any request under /v1/. */
export const accessProblems = [
  ...anyProblems,
  'unauthorized',
  'rate_limited',
] as const satisfies readonly ErrorCode[];

/** What may be wrong with a request that brings an image, or with its answer. */
export const imageProblems = [
  ...accessProblems,
  'missing_image',
  'too_many_images',
  'empty_image',
  'malformed_json',
  'malformed_multipart',
  'invalid_base64',
  'invalid_option',
  'url_not_allowed',
  'url_unreachable',
  'body_too_large',
  'unsupported_media_type',
  'unsupported_image_format',
  'image_unreadable',
  'image_too_many_pixels',
  'image_too_complex',
  'image_crashes_model',
  'queue_full',
  'not_ready',
  'draining',
  'deadline_exceeded',
] as const satisfies readonly ErrorCode[];

/** Response entries of a route's schema for the problems it may answer, one for each status. */
export function problemResponses(...codes: readonly ErrorCode[]) {
  const statuses = new Set(codes.map((code) => statusOf[code]));
  return Object.fromEntries(
    [...statuses].map((status) => {
      const list = codes.filter((code) => statusOf[code] === status);
      return [status, responseOf(status, list)];
    }),
  );
}

function responseOf(status: number, codes: readonly ErrorCode[]) {
  return {
    description: codes.map((code) => `\`${code}\`: ${errorCodes[code].title}.`).join(' '),
    ...headersOf(status),
    content: {
      [problemMediaType]: {
        schema: ProblemSchema,
        examples: Object.fromEntries(codes.map((code) => [code, { value: exampleProblem(code) }])),
      },
    },
  };
}

function headersOf(status: number) {
  if (status === 401)
    return { headers: { 'www-authenticate': Type.String({ description: 'Bearer (RFC 6750).' }) } };
  if (status !== 429 && status !== 503) return {};
  return { headers: { 'retry-after': Type.Integer({ description: 'Seconds to wait.' }) } };
}

export function exampleProblem(code: ErrorCode): Problem {
  return problemDocument(new ServiceError(code, `${errorCodes[code].title}.`), 'b2f7c0de');
}
