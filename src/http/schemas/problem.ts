import { type Static, Type } from 'typebox';
import { type ProblemCode, problems, ServiceError } from '../../problem.js';

export const problemMediaType = 'application/problem+json';

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: 'A URI for the kind of problem; it names the code.' }),
    title: Type.String({ description: 'The kind of problem in words.' }),
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    detail: Type.String({ description: 'What happened this time.' }),
    code: Type.String({ description: 'Stable code of the problem, to branch on.' }),
    requestId: Type.String({ description: 'The `x-request-id` under which the service logged it.' }),
  },
  { additionalProperties: false, title: 'Problem', description: 'What went wrong (RFC 9457).' },
);

export type Problem = Static<typeof ProblemSchema>;

export function problemDocument({ code, detail }: ServiceError, requestId: string): Problem {
  const { status, title } = problems[code];
  return { type: `urn:problem-type:${code}`, title, status, detail, code, requestId };
}

/** What may be wrong with any request. */
export const anyProblems = ['headers_too_large', 'internal'] as const satisfies readonly ProblemCode[];

/** What may be wrong with any request under /v1/. */
export const accessProblems = [
  ...anyProblems,
  'unauthorized',
  'rate_limited',
] as const satisfies readonly ProblemCode[];

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
  'image_crashes_model',
  'queue_full',
  'not_ready',
  'draining',
  'deadline_exceeded',
] as const satisfies readonly ProblemCode[];

/** Response entries of a route's schema for the problems it may answer, one for each status. */
export function problemResponses(...codes: readonly ProblemCode[]) {
  const statuses = new Set(codes.map((code) => problems[code].status));
  return Object.fromEntries(
    [...statuses].map((status) => {
      const list = codes.filter((code) => problems[code].status === status);
      return [status, responseOf(status, list)];
    }),
  );
}

function responseOf(status: number, codes: readonly ProblemCode[]) {
  return {
    description: codes.map((code) => `\`${code}\`: ${problems[code].title}.`).join(' '),
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

export function exampleProblem(code: ProblemCode): Problem {
  return problemDocument(new ServiceError(code, `${problems[code].title}.`), 'b2f7c0de');
}
