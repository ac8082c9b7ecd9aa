import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { ServiceError } from '../errors.js';
import { problemDocument, problemMediaType, statusOf } from './problem-details.js';

/** Answers what the parser of HTTP refuses: there is no request then, only a connection, which ends with the answer. */
export function answerClientError({ code }: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable) return;
  const problem = problemOf(code);
  const status = statusOf[problem.code];
  const body = JSON.stringify(problemDocument(problem, randomUUID()));
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
      `content-type: ${problemMediaType}`,
      'connection: close',
      `content-length: ${Buffer.byteLength(body)}`,
      '',
      body,
    ].join('\r\n'),
  );
}

function problemOf(code: string | undefined): ServiceError {
  if (code === 'HPE_HEADER_OVERFLOW')
    return new ServiceError('headers_too_large', 'The header fields may have 16 KiB in all.');
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new ServiceError('request_timeout', 'The header fields took too long to arrive.');
  return new ServiceError('malformed_request', 'This is not HTTP as this service reads it.');
}
