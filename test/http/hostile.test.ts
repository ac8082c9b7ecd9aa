import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import { quarters } from '../images/drawn.js';
import { json, type Service, startService } from './service.js';

const photo = await quarters().jpeg().toBuffer();
const base64 = photo.toString('base64');

function connectTo({ url }: Service): Socket {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  return socket;
}

/** Sends bytes as they stand, and resolves with all that comes back until the connection ends. */
async function exchange(service: Service, ...parts: readonly (string | Buffer)[]): Promise<string> {
  const socket = connectTo(service);
  for (const part of parts) socket.write(part);
  return text(socket);
}

async function postJson({ url }: Service, body: string, query = ''): Promise<[number, unknown]> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/captions${query}`, { method: 'POST', headers, body });
  return [response.status, (await json(response))['code']];
}

/** A good photo is captioned as ever. */
async function assertCaptions({ url }: Service): Promise<void> {
  const headers = { 'content-type': 'image/jpeg' };
  const body = new Uint8Array(photo);
  assert.equal((await fetch(`${url}/v1/captions`, { method: 'POST', headers, body })).status, 200);
}

test('JSON that would take seconds to parse or to check is refused', async (t) => {
  const running = await startService(t);
  const many = '0,'.repeat(2_000_000);
  const deep = `${'['.repeat(5000)}${']'.repeat(5000)}`;
  const body = (concepts: string) => `{"image":"${base64}","concepts":${concepts}}`;
  assert.deepEqual(await postJson(running, body(`[${many}0]`)), [400, 'malformed_json']);
  assert.deepEqual(await postJson(running, body(deep), '?concepts=a'), [400, 'malformed_json']);
  const long = `{"image":"${base64}","avoidWords":["${'a-'.repeat(5_000_000)}"]}`;
  assert.deepEqual(await postJson(running, long), [400, 'invalid_option']);
  await running.scheduler.idle();
});

test('paths that mean something to the router are none of ours', async (t) => {
  const running = await startService(t);
  for (const path of ['/*a', '/:id((', '/docs/static/../../x', '/a%00b', '/%', '/v1/(captions)']) {
    const answer = await exchange(running, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 404 [^]*"code":"not_found"/, path);
    assert.ok(!answer.includes(path.slice(1)), 'the path is not repeated');
  }
  assert.ok(!running.log().includes('(captions)'), 'nor logged');
});

test('a range beyond a file is 416', async (t) => {
  const { url } = await startService(t);
  const headers = { range: 'bytes=99999999-' };
  const response = await fetch(`${url}/docs/static/swagger-ui.css`, { headers });
  assert.deepEqual([response.status, (await json(response))['code']], [416, 'range_not_satisfiable']);
});

for (const [what, head] of [
  ['two Host fields', 'GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n'],
  ['no Host field', 'GET /healthz HTTP/1.1\r\n'],
  [
    'a transfer coding beside chunked',
    'POST /v1/captions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n',
  ],
  ['a header field without a colon', 'GET /healthz HTTP/1.1\r\nHost: a\r\nbad field\r\n'],
] as const) {
  test(`a request with ${what} is refused with a problem`, async (t) => {
    const answer = await exchange(await startService(t), `${head}Connection: close\r\n\r\n0\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 400 [^]*application\/problem\+json[^]*"code":"malformed_request"/);
  });
}

test('who asks before sending a body that is too large is not told to go on', async (t) => {
  const running = await startService(t, { MAX_BODY_BYTES: '1024' });
  const head = (length: number) =>
    `POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\n`;
  assert.match(await exchange(running, `${head(1025)}Connection: close\r\n\r\n`), /^HTTP\/1\.1 413 /);
  const metrics = await (await fetch(`${running.url}/metrics`)).text();
  assert.match(metrics, /^pcm_caption_refused_bodies_total\{reason="too_large"\} 1$/m);
  const small = `${head(3)}Connection: close\r\n\r\n`;
  assert.match(await exchange(running, small, 'abc'), /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 415 /);
});

test('a client that writes its whole body before it reads gets to read why it was refused', async (t) => {
  const running = await startService(t, { MAX_BODY_BYTES: '1048576' });
  const length = 2_000_000;
  const socket = connectTo(running);
  // As Python's urllib: it says that the connection ends, and reads when all is written.
  socket.write(
    `POST /v1/captions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: image/jpeg\r\nContent-Length: ${length}\r\n\r\n`,
  );
  for (let sent = 0; sent < length; sent += 100_000) {
    if (!socket.write(Buffer.alloc(100_000))) await once(socket, 'drain');
    await sleep(5);
  }
  assert.match(await text(socket), /^HTTP\/1\.1 413 /);
});

test('a body that is cut off is one line of the log, and no error', async (t) => {
  for (const type of [
    'Content-Type: image/jpeg\r\nContent-Length: 100',
    'Content-Type: application/json\r\nContent-Length: 100',
    'Content-Type: image/jpeg\r\nTransfer-Encoding: chunked',
  ]) {
    const running = await startService(t);
    const socket = connectTo(running);
    socket.write(`POST /v1/captions HTTP/1.1\r\nHost: a\r\n${type}\r\n\r\n5\r\nab`);
    await running.scheduler.admitted(1);
    socket.destroy();
    await running.scheduler.idle();
    await sleep(20);
    const lines = running
      .log()
      .trim()
      .split('\n')
      .filter((line) => line.includes('"reqId"'));
    const kept = lines.filter((line) => Number(/"level":(\d+)/.exec(line)?.[1]) >= 30);
    assert.deepEqual(
      kept.map((line) => /"level":(\d+).*"msg":"(.*?)"/.exec(line)?.slice(1)),
      [['30', 'client has gone']],
      type,
    );
  }
});

test('a refusal is one line of the log, and what machines ask all day is none', async (t) => {
  const running = await startService(t);
  for (const path of ['/healthz', '/readyz', '/metrics', '/nothing']) await fetch(running.url + path);
  await sleep(20);
  const lines = running
    .log()
    .trim()
    .split('\n')
    .filter((line) => /"level":[3-6]0/.test(line) && line.includes('"reqId"'));
  assert.deepEqual(
    lines.map((line) => /"code":"(\w+)".*"msg":"(.*?)"/.exec(line)?.slice(1)),
    [['not_found', 'refused']],
  );
});

test('a client is its address, with whatever port a proxy names it', async (t) => {
  const { url } = await startService(t, { RATE_LIMIT: '1', TRUST_PROXY: 'true' });
  const statusFor = async (address: string) =>
    (await fetch(`${url}/v1/models`, { headers: { 'x-forwarded-for': address } })).status;
  assert.equal(await statusFor('192.0.2.1:5555'), 200);
  assert.equal(await statusFor('192.0.2.1:5556'), 429);
  assert.equal(await statusFor('192.0.2.1'), 429);
  assert.equal(await statusFor('[2001:db8::1]:80'), 200);
  assert.equal(await statusFor('2001:db8::1'), 429);
  // What is no address counts as the proxy.
  assert.equal(await statusFor('nonsense-1'), 200);
  assert.equal(await statusFor('nonsense-2'), 429);
});

test('connections beyond the bound are closed, and those within it are served', async (t) => {
  const running = await startService(t, { MAX_CONNECTIONS: '3' });
  const open = Array.from({ length: 3 }, () => connectTo(running));
  await Promise.all(open.map((socket) => once(socket, 'connect')));
  await sleep(50);
  assert.equal(await exchange(running, 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n'), '');
  const [first, ...others] = open;
  first?.end('GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.ok(first !== undefined && (await text(first)).startsWith('HTTP/1.1 200 '));
  for (const socket of others) socket.destroy();
});

test('bodies behind a photo that is slow hold nothing once their connection is closed', async (t) => {
  const running = await startService(t, { MAX_UPLOAD_BYTES: '1000000' });
  const go = running.scheduler.hold();
  const upload = (body: Buffer) =>
    Buffer.concat([
      Buffer.from(
        `POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: ${body.length}\r\n\r\n`,
      ),
      body,
    ]);
  for (let round = 0; round < 5; round += 1) {
    const socket = connectTo(running);
    socket.write(upload(photo));
    socket.write(upload(Buffer.alloc(900_000)));
    await sleep(50);
    socket.destroy();
  }
  go();
  await running.scheduler.idle();
  await assertCaptions(running);
});

test('however requests are interleaved, cut off and late, nothing is held in the end', async (t) => {
  const running = await startService(t, { REQUEST_TIMEOUT_MS: '300', MAX_QUEUE_IMAGES: '8' });
  const chunks: Record<string, string | Buffer> = {
    head: `POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: ${photo.length}\r\n\r\n`,
    photo,
    half: photo.subarray(0, photo.length / 2),
    get: 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n',
    json: `POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}\n`,
    batch: `POST /v1/captions/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
    chunk: '5\r\n{"ima\r\n',
    last: '0\r\n\r\n',
  };
  const step = fc.oneof(
    fc.constantFrom(...Object.keys(chunks)),
    fc.constantFrom('wait', 'hold', 'go', 'close'),
  );
  let go = (): void => undefined;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(step, { maxLength: 8 }), { minLength: 1, maxLength: 3 }),
      async (clients) => {
        const sockets = await Promise.all(
          clients.map(async (steps) => {
            const socket = connectTo(running);
            socket.resume();
            for (const name of steps) {
              const chunk = chunks[name];
              if (chunk !== undefined) socket.write(chunk);
              else if (name === 'wait') await sleep(10);
              else if (name === 'hold') go = running.scheduler.hold();
              else if (name === 'go') go();
              else socket.destroy();
            }
            return socket;
          }),
        );
        go();
        for (const socket of sockets) socket.destroy();
        await running.scheduler.idle();
      },
    ),
    { numRuns: 40 },
  );
  await assertCaptions(running);
});
