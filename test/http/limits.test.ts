import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { quarters } from '../images/drawn.js';
import { formOf, json, startService } from './service.js';
import { responseTo } from './upload.js';

const photo = await quarters().jpeg().toBuffer();

/** Sends a request, or a part of one, as it stands, and resolves with all that comes back until the connection ends. */
async function exchange(url: string, bytes: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.write(bytes);
  return text(socket);
}

async function codeOf(url: string, init: RequestInit): Promise<unknown> {
  const problem = await json(await fetch(`${url}/v1/captions`, { method: 'POST', ...init }));
  return problem['code'];
}

test('header fields that do not end are given up', async (t) => {
  const { url } = await startService(t, { HEADERS_TIMEOUT_MS: '100' });
  const answer = await exchange(url, 'POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n');
  assert.match(answer, /^HTTP\/1\.1 408 /);
});

test('a connection over which nothing is sent is closed', async (t) => {
  const { url } = await startService(t, { HEADERS_TIMEOUT_MS: '100' });
  assert.match(await exchange(url, ''), /^(HTTP\/1\.1 408 |$)/);
});

test('a connection on which nothing happens ends some time after a request would have', async (t) => {
  const { app } = await startService(t, { REQUEST_TIMEOUT_MS: '5000' });
  assert.deepEqual([app.server.timeout, app.server.requestTimeout], [65_000, 65_000]);
});

test('what is not HTTP is refused, and the connection closed', async (t) => {
  const { url } = await startService(t);
  assert.match(await exchange(url, '\u0016\u0003\u0001 a handshake of TLS\r\n\r\n'), /^HTTP\/1\.1 400 /);
});

test('a length and chunks at once, by which requests are smuggled, are refused', async (t) => {
  const { url, scheduler } = await startService(t);
  const head = 'POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n';
  const answer = await exchange(
    url,
    `${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  );
  assert.match(answer, /^HTTP\/1\.1 400 /);
  assert.equal(scheduler.items.length, 0);
});

test('a form may have as many fields as there are options, and not many more', async (t) => {
  const { url, scheduler } = await startService(t);
  const fields = (count: number) =>
    Array.from({ length: count }, (): [string, string] => ['avoidWords', 'dog']);
  assert.equal(await codeOf(url, { body: formOf(...fields(50), ['image', photo]) }), undefined);
  assert.equal(await codeOf(url, { body: formOf(...fields(51), ['image', photo]) }), 'invalid_option');
  assert.equal(await codeOf(url, { body: formOf(...fields(500), ['image', photo]) }), 'body_too_large');
  await scheduler.idle();
});

test('a field of a form is short', async (t) => {
  const { url, scheduler } = await startService(t);
  const body = formOf(['concepts', 'a'.repeat(5000)], ['image', photo]);
  const problem = await json(await fetch(`${url}/v1/captions`, { method: 'POST', body }));
  assert.deepEqual(
    [problem['code'], problem['detail']],
    ['invalid_option', 'The form field concepts must be a short plain text.'],
  );
  await scheduler.idle();
});

test('the header fields of a form’s parts are bounded', async (t) => {
  const { url, scheduler } = await startService(t);
  const headers = { 'content-type': 'multipart/form-data; boundary=line' };
  for (const header of [
    `X-Long: ${'a'.repeat(100_000)}`,
    Array.from({ length: 5000 }, (_, number) => `X-${number}: a`).join('\r\n'),
  ]) {
    const body = `--line\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n${header}\r\n\r\nabc\r\n--line--`;
    const code = await codeOf(url, { headers, body });
    assert.ok(code === 'malformed_multipart' || code === 'unsupported_image_format', String(code));
  }
  await scheduler.idle();
});

test('a file of a form that goes on and on is refused while it is read', async (t) => {
  const { url, scheduler } = await startService(t, { MAX_BODY_BYTES: '100000' });
  const upload = request(`${url}/v1/captions`, {
    method: 'POST',
    // In chunks, so that nothing says how long it is.
    headers: { 'content-type': 'multipart/form-data; boundary=line', 'transfer-encoding': 'chunked' },
  });
  upload.on('error', () => undefined);
  const answer = responseTo(upload);
  upload.write('--line\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n');
  upload.write(Buffer.alloc(110_000));
  const { status, code } = await answer;
  assert.deepEqual([status, code], [413, 'body_too_large']);
  upload.destroy();
  await scheduler.idle();
});

test('header fields are bounded', async (t) => {
  const { url, scheduler } = await startService(t);
  const answer = await exchange(
    url,
    `POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nX-Long: ${'a'.repeat(20_000)}\r\n\r\n`,
  );
  assert.match(answer, /^HTTP\/1\.1 431 /);
  assert.equal(scheduler.items.length, 0);
});

test('JSON may be nested a little, and no deeper', async (t) => {
  const { url, scheduler } = await startService(t);
  const headers = { 'content-type': 'application/json' };
  const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
  const image = photo.toString('base64');
  const ask = (depth: number) => ({ headers, body: `{"image":"${image}","concepts":${nested(depth)}}` });
  assert.equal(await codeOf(url, ask(31)), 'invalid_option');
  assert.equal(await codeOf(url, ask(32)), 'malformed_json');
  assert.equal(await codeOf(url, { headers, body: `{"image":${nested(31)}}` }), 'invalid_base64');
  assert.equal(await codeOf(url, { headers, body: nested(100_000) }), 'malformed_json');
  await scheduler.idle();
});
