import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { ServiceError } from '../problem.js';
import { problemDocument, problemMediaType } from './schemas/problem.js';

/** Answers what the parser of HTTP refuses: there is no request then, only a connection, which ends with the answer. */
export function answerClientError({ code }: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable) return;
  if (code === 'HPE_HEADER_OVERFLOW') {
    const error = new ServiceError('headers_too_large', 'The header fields may have 16 KiB in all.');
    const body = JSON.stringify(problemDocument(error, randomUUID()));
    socket.end(responseOf(431, [`content-type: ${problemMediaType}`], body));
  } else {
    socket.end(responseOf(code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400, [], ''));
  }
}

function responseOf(status: number, headers: readonly string[], body: string): string {
  const length = Buffer.byteLength(body);
  const lines = [...headers, 'connection: close', `content-length: ${length}`];
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('\r\n')}\r\n\r\n${body}`;
}
