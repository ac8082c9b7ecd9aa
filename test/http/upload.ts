import assert from 'node:assert/strict';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';

/** Sends the headers of a body, and its bytes only if the caller does. */
export function beginUpload(url: string, type: string, bytes: number): ClientRequest {
  const upload = request(url, {
    method: 'POST',
    headers: { 'content-type': type, 'content-length': bytes },
  });
  // What the server does to the connection is the test's business, not an exception's.
  upload.on('error', () => undefined);
  upload.flushHeaders();
  return upload;
}

/** The problem with which an upload is answered. */
export async function responseTo(upload: ClientRequest) {
  const response = await new Promise<IncomingMessage>((resolve) => upload.once('response', resolve));
  const body: unknown = JSON.parse(await text(response));
  assert.ok(typeof body === 'object' && body !== null && 'code' in body);
  return { status: response.statusCode, headers: response.headers, code: body.code };
}
