/**
 * Everything that can go wrong for a client, in one table: the stable code, its HTTP status, the title,
 * which is the same for every occurrence of a code (RFC 9457), and what to do about it, for the documentation.
 */
export const problems = {
  missing_image: {
    status: 400,
    title: 'No image was sent',
    remedy:
      'Send the image as the form field image, as the body with its image/… type, or as image in base64 in JSON.',
  },
  too_many_images: {
    status: 400,
    title: 'More images than this call takes',
    remedy: 'Send fewer; POST /v1/captions/batch takes several.',
  },
  empty_image: {
    status: 400,
    title: 'The image is empty',
    remedy: 'Check how the file was read: no bytes came.',
  },
  malformed_json: {
    status: 400,
    title: 'The body is not the JSON this call takes',
    remedy: 'Send a JSON object with content-type application/json.',
  },
  malformed_multipart: {
    status: 400,
    title: 'The body is not a valid multipart form',
    remedy: 'Let the HTTP library write the form and its content-type with the boundary.',
  },
  invalid_base64: {
    status: 400,
    title: 'The image is not valid base64',
    remedy: 'Encode the bytes of the file, without a data: prefix.',
  },
  invalid_option: {
    status: 400,
    title: 'An option is unknown or out of range',
    remedy: 'The detail names the option and what it takes.',
  },
  url_not_allowed: {
    status: 400,
    title: 'This URL is not allowed',
    remedy:
      'Send the image itself, or ask the operator for ALLOW_URL_IMAGES; only public http(s) servers are reached.',
  },
  unauthorized: {
    status: 401,
    title: 'A valid API key is needed',
    remedy: 'Send a key: Authorization: Bearer KEY.',
  },
  forbidden: {
    status: 403,
    title: 'This is not allowed',
    remedy: 'Ask whoever runs the service, or owns the file.',
  },
  not_found: { status: 404, title: 'There is nothing at this path', remedy: 'Check the path.' },
  method_not_allowed: {
    status: 405,
    title: 'This path does not take this method',
    remedy: 'The header Allow lists what the path takes.',
  },
  body_too_large: {
    status: 413,
    title: 'The body or image is larger than the limit',
    remedy: 'Send a smaller file, or raise MAX_BODY_BYTES.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'This content type is not taken',
    remedy: 'Send multipart/form-data, application/json or image/…',
  },
  unsupported_image_format: {
    status: 415,
    title: 'This image format is not taken',
    remedy: 'Convert it to one of the formats that the detail lists.',
  },
  image_unreadable: {
    status: 422,
    title: 'The image cannot be read',
    remedy: 'The file is cut short or damaged: send it again, or save it anew.',
  },
  image_too_many_pixels: {
    status: 422,
    title: 'The image has more pixels than the limit',
    remedy: 'Send it smaller (the model sees less than 100,000 pixels), or raise MAX_PIXELS.',
  },
  url_unreachable: {
    status: 422,
    title: 'No image could be fetched from the URL',
    remedy: 'Check that the URL answers with the image itself, without a login, in time.',
  },
  headers_too_large: {
    status: 431,
    title: 'The header fields are larger than the limit',
    remedy: 'Send fewer or shorter header fields.',
  },
  rate_limited: { status: 429, title: 'Too many requests', remedy: 'Wait the seconds of Retry-After.' },
  image_crashes_model: {
    status: 500,
    title: 'The model fails on this image',
    remedy: 'Do not send this image again; please report it.',
  },
  internal: {
    status: 500,
    title: 'Something went wrong on this side',
    remedy: 'Look for the requestId in the log of the service; please report it.',
  },
  queue_full: {
    status: 503,
    title: 'The queue is full',
    remedy: 'Wait the seconds of Retry-After; more images come in than are answered.',
  },
  not_ready: {
    status: 503,
    title: 'The service is not ready',
    remedy: 'Wait for /readyz; the log tells why when it stays so.',
  },
  draining: {
    status: 503,
    title: 'The service is shutting down',
    remedy: 'Send it to another instance, or again after the restart.',
  },
  deadline_exceeded: {
    status: 504,
    title: 'The answer was not ready in time',
    remedy: 'Send it again when there is less to do, or raise REQUEST_TIMEOUT_MS.',
  },
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
