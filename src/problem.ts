/**
 * Everything that can go wrong for a client, in one table: the stable code, its HTTP status, and the title,
 * which is the same for every occurrence of a code (RFC 9457).
 */
export const problems = {
  missing_image: { status: 400, title: 'No image was sent' },
  too_many_images: { status: 400, title: 'More images than this call takes' },
  empty_image: { status: 400, title: 'The image is empty' },
  malformed_json: { status: 400, title: 'The body is not the JSON this call takes' },
  malformed_multipart: { status: 400, title: 'The body is not a valid multipart form' },
  invalid_base64: { status: 400, title: 'The image is not valid base64' },
  invalid_option: { status: 400, title: 'An option is unknown or out of range' },
  url_not_allowed: { status: 400, title: 'This URL is not allowed' },
  unauthorized: { status: 401, title: 'A valid API key is needed' },
  forbidden: { status: 403, title: 'This is not allowed' },
  not_found: { status: 404, title: 'There is nothing at this path' },
  method_not_allowed: { status: 405, title: 'This path does not take this method' },
  body_too_large: { status: 413, title: 'The body or image is larger than the limit' },
  unsupported_media_type: { status: 415, title: 'This content type is not taken' },
  unsupported_image_format: { status: 415, title: 'This image format is not taken' },
  image_unreadable: { status: 422, title: 'The image cannot be read' },
  image_too_many_pixels: { status: 422, title: 'The image has more pixels than the limit' },
  url_unreachable: { status: 422, title: 'No image could be fetched from the URL' },
  headers_too_large: { status: 431, title: 'The header fields are larger than the limit' },
  rate_limited: { status: 429, title: 'Too many requests' },
  image_crashes_model: { status: 500, title: 'The model fails on this image' },
  internal: { status: 500, title: 'Something went wrong on this side' },
  queue_full: { status: 503, title: 'The queue is full' },
  not_ready: { status: 503, title: 'The service is not ready' },
  draining: { status: 503, title: 'The service is shutting down' },
  deadline_exceeded: { status: 504, title: 'The answer was not ready in time' },
} as const;

export type ProblemCode = keyof typeof problems;

/** The one error type that is meant for a client; anything else that is thrown becomes `internal`. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';

  /**
   * @param code what happened
   * @param detail one sentence for the client about this occurrence; no path, stack or library message
   * @param retryAfterSeconds when trying again makes sense (503, 429)
   */
  constructor(
    readonly code: ProblemCode,
    readonly detail: string,
    readonly retryAfterSeconds?: number,
  ) {
    super(`${code}: ${detail}`);
  }
}
