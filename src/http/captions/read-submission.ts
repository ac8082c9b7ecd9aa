import type { FastifyRequest } from 'fastify';
import { ServiceError } from '../../problem.js';
import { readForm } from './form.js';
import { readJson } from './json.js';
import type { Submission, SubmissionLimits } from './submission.js';

/**
 * Reads images and options from a multipart form, an image as the body, or JSON, and options from the query too.
 *
 * @throws ServiceError missing_image | too_many_images | malformed_multipart | malformed_json | invalid_base64 |
 *   invalid_option | url_not_allowed | body_too_large
 */
export async function readSubmission(request: FastifyRequest, limits: SubmissionLimits): Promise<Submission> {
  const query = [...new URL(request.url, 'http://localhost').searchParams];
  const { images, texts, members } = await readBody(request, limits);
  const submission = { images, texts: [...query, ...texts], members };
  if (submission.texts.some(([name]) => name === 'url') || 'url' in members) {
    throw new ServiceError('url_not_allowed', 'Send the image itself; this service fetches no URLs.');
  }
  if (images.length === 0) {
    throw new ServiceError(
      'missing_image',
      'Send an image as the form field "image", as the body with its image/… type, or as "image" in base64 in JSON.',
    );
  }
  return submission;
}

async function readBody(request: FastifyRequest, limits: SubmissionLimits): Promise<Submission> {
  if (request.isMultipart()) return readForm(request, limits);
  const { body } = request;
  if (Buffer.isBuffer(body)) return { images: [body], texts: [], members: {} };
  if (body === undefined) return { images: [], texts: [], members: {} };
  return readJson(body);
}
