/**
 * Everything that can go wrong for a client: the stable code, its title, which is the same for every occurrence, and
 * what to do about it. Statuses of HTTP are in http/problem-details.ts.
 */
export const errorCodes = {
  missing_image: {
    title: 'No image was sent',
    remedy:
      'Send the image as the form field image, as the body with its image/… type, or as image in base64 in JSON.',
  },
  too_many_images: {
    title: 'More images than this call takes',
    remedy: 'Send fewer; POST /v1/captions/batch takes several.',
  },
  empty_image: {
    title: 'The image is empty',
    remedy: 'Check how the file was read: no bytes came.',
  },
  malformed_request: {
    title: 'The request is not valid HTTP',
    remedy: 'Let an HTTP library write the request.',
  },
  malformed_json: {
    title: 'The body is not the JSON this call takes',
    remedy: 'Send a JSON object with content-type application/json.',
  },
  malformed_multipart: {
    title: 'The body is not a valid multipart form',
    remedy: 'Let the HTTP library write the form and its content-type with the boundary.',
  },
  invalid_base64: {
    title: 'The image is not valid base64',
    remedy: 'Encode the bytes of the file (RFC 4648); a data: prefix and line breaks are taken.',
  },
  invalid_option: {
    title: 'An option is unknown or out of range',
    remedy: 'The detail names the option and what it takes.',
  },
  url_not_allowed: {
    title: 'This URL is not allowed',
    remedy:
      'Send the image itself, or ask the operator for ALLOW_URL_IMAGES; only public http(s) servers are reached.',
  },
  unauthorized: {
    title: 'A valid API key is needed',
    remedy: 'Send a key: Authorization: Bearer KEY.',
  },
  forbidden: {
    title: 'This is not allowed',
    remedy: 'Ask whoever runs the service, or owns the file.',
  },
  not_found: { title: 'There is nothing at this path', remedy: 'Check the path.' },
  method_not_allowed: {
    title: 'This path does not take this method',
    remedy: 'The header Allow lists what the path takes.',
  },
  request_timeout: {
    title: 'The request did not arrive in time',
    remedy: 'Send it faster, or raise HEADERS_TIMEOUT_MS.',
  },
  body_too_large: {
    title: 'The body or image is larger than the limit',
    remedy: 'Send a smaller file, or raise MAX_BODY_BYTES.',
  },
  unsupported_media_type: {
    title: 'This content type is not taken',
    remedy: 'Send multipart/form-data, application/json, image/… or application/octet-stream.',
  },
  unsupported_image_format: {
    title: 'This image format is not taken',
    remedy: 'Convert it to one of the formats that the detail lists.',
  },
  range_not_satisfiable: {
    title: 'The file has no such range',
    remedy: 'Send the request without Range.',
  },
  image_unreadable: {
    title: 'The image cannot be read',
    remedy: 'The file is cut short or damaged: send it again, or save it anew.',
  },
  image_too_many_pixels: {
    title: 'The image has more pixels than the limit',
    remedy: 'Send it smaller (the model sees less than 100,000 pixels), or raise MAX_PIXELS.',
  },
  image_too_complex: {
    title: 'The image takes too much to decode',
    remedy: 'Save it anew without what makes it large: scans, chunks, layers. The detail says what.',
  },
  url_unreachable: {
    title: 'No image could be fetched from the URL',
    remedy: 'Check that the URL answers with the image itself, without a login, in time.',
  },
  metadata_unreadable: {
    title: 'The metadata of the photo cannot be read or written',
    remedy: 'The detail says why. The file is as it was: repair it, or caption it with --write txt.',
  },
  output_in_use: {
    title: 'The output belongs to another job',
    remedy: 'Name another folder or prefix, or send the order that began this one to go on with it.',
  },
  idempotency_key_reused: {
    title: 'The Idempotency-Key was sent with another order',
    remedy: 'Send a new key with a new order.',
  },
  queue_unavailable: {
    title: 'The queue server does not answer',
    remedy: 'Send it again, with the same Idempotency-Key; the operator sees to QUEUE_URL.',
  },
  storage_unavailable: {
    title: 'The folder or bucket cannot be read or written',
    remedy: 'The detail says why: a full disk, or a server of S3 that does not answer. Try again after that.',
  },
  headers_too_large: {
    title: 'The header fields are larger than the limit',
    remedy: 'Send fewer or shorter header fields.',
  },
  rate_limited: { title: 'Too many requests', remedy: 'Wait the seconds of Retry-After.' },
  image_crashes_model: {
    title: 'The model fails on this image',
    remedy: 'Do not send this image again; please report it.',
  },
  internal: {
    title: 'Something went wrong on this side',
    remedy: 'Look for the requestId in the log of the service; please report it.',
  },
  queue_full: {
    title: 'The queue is full',
    remedy: 'Wait the seconds of Retry-After; more images come in than are answered.',
  },
  not_ready: {
    title: 'The service is not ready',
    remedy: 'Wait for /readyz; the log tells why when it stays so.',
  },
  draining: {
    title: 'The service is shutting down',
    remedy: 'Send it to another instance, or again after the restart.',
  },
  deadline_exceeded: {
    title: 'The answer was not ready in time',
    remedy: 'Send it again when there is less to do, or raise REQUEST_TIMEOUT_MS.',
  },
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** The one error type that is meant for a client; anything else that is thrown becomes `internal`. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';

  /**
   * @param code what happened
   * @param detail one sentence for the client about this occurrence; no path, stack or library message
   * @param retryAfterSeconds when trying again makes sense (503, 429)
   * @param isTransient whether the same may go well in a moment, where the code alone does not tell
   */
  constructor(
    readonly code: ErrorCode,
    readonly detail: string,
    readonly retryAfterSeconds?: number,
    readonly isTransient = false,
  ) {
    super(`${code}: ${detail}`);
  }
}
