import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from './random.js';
import { connectTo, exchange, headOf, write } from './raw-http.js';

/** What a client that leaves without waiting for an answer gets. */
const left = 'left';
/** Answers to requests that were not admitted. */
const turnedAway = ['503 queue_full', '503 not_ready'];

/** Something that a hostile client does, once. */
export interface HostileAct {
  readonly name: string;
  /** How it may end; whatever takes a slot may be turned away, too. */
  readonly right: readonly string[];
  readonly perform: () => Promise<string>;
}

export interface HostileOptions {
  /** Of the service, whose `MAX_BODY_BYTES` is at least 20 MiB, and which may fetch from 127.0.0.1. */
  readonly url: string;
  /** An intact one of a few hundred kilobytes at most. */
  readonly photo: Buffer;
  /** Where `createImageServer` listens. */
  readonly imageServerUrl: string;
  readonly random: Random;
}

/** Every kind of hostile request that once hurt other clients. Bodies are made here, so that sending them is cheap. */
export function hostileActs({ url, photo, imageServerUrl, random }: HostileOptions): readonly HostileAct[] {
  const base64 = photo.toString('base64');
  const postJson = (body: Buffer | string, path = '/v1/captions') => {
    const bytes = Buffer.from(body);
    return exchange(url, headOf(path, 'application/json', bytes.length), bytes);
  };
  const withConcepts = (concepts: string) => Buffer.from(`{"image":"${base64}","concepts":${concepts}}`);
  const costlyJson = [
    withConcepts(`[${'0,'.repeat(4_000_000)}0]`),
    withConcepts(`[${'"a",'.repeat(2_000_000)}"a"]`),
    withConcepts(`[${'{},'.repeat(2_000_000)}{}]`),
    withConcepts(`${'['.repeat(5000)}${']'.repeat(5000)}`),
    Buffer.from('['.repeat(8_000_000)),
    Buffer.from(`{${Array.from({ length: 500_000 }, (_, at) => `"k${at}":1`).join(',')}}`),
    Buffer.from(`{"image":"${base64}","avoidWords":["${'a-'.repeat(5_000_000)}"]}`),
    Buffer.from(`{"image":"${base64}","avoidWords":["${'\\"'.repeat(5_000_000)}"]}`),
  ];
  const paddedBase64 = Buffer.concat([photo, Buffer.alloc(960_000 - photo.length)]).toString('base64');
  const largeBatch = Buffer.from(
    JSON.stringify({ images: Array.from({ length: 16 }, () => ({ image: paddedBase64 })) }),
  );
  const largeBody = Buffer.alloc(18_000_000);
  const word = (letters: number) =>
    Array.from({ length: letters }, () => String.fromCharCode(97 + random.below(26))).join('');
  const upload = (body: Buffer) =>
    `POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: ${body.length}\r\n\r\n`;

  return [
    {
      name: 'JSON that is costly to parse',
      right: ['400 malformed_json', '400 invalid_option', ...turnedAway],
      perform: () => postJson(random.oneOf(costlyJson)),
    },
    {
      name: 'a large body pipelined behind a photo, connection closed',
      right: [left],
      async perform() {
        const socket = connectTo(url);
        socket.resume();
        await Promise.race([write(socket, upload(photo), photo, upload(largeBody), largeBody), sleep(500)]);
        socket.destroy();
        return left;
      },
    },
    {
      name: 'a batch of 20 MB',
      right: ['200', ...turnedAway],
      perform: () => postJson(largeBatch, '/v1/captions/batch'),
    },
    {
      name: '100 new concepts of 38 letters',
      right: ['200', ...turnedAway],
      perform: () =>
        postJson(JSON.stringify({ image: base64, concepts: Array.from({ length: 100 }, () => word(38)) })),
    },
    {
      name: 'a path that means something to the router',
      right: ['404 not_found'],
      perform: () => {
        const path = random.oneOf([
          '/*a',
          '/:id((',
          '/docs/static/../../x',
          '/a%00b',
          '/%',
          '/v1/(captions)',
        ]);
        return exchange(url, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
      },
    },
    {
      name: 'a range beyond a file',
      right: ['416 range_not_satisfiable'],
      perform: () =>
        exchange(
          url,
          'GET /docs/static/swagger-ui.css HTTP/1.1\r\nHost: localhost\r\nRange: bytes=99999999-\r\nConnection: close\r\n\r\n',
        ),
    },
    {
      name: 'an image URL whose server misbehaves',
      right: ['422 url_unreachable', '413 body_too_large', '415 unsupported_image_format', ...turnedAway],
      perform: () => postJson(JSON.stringify({ url: `${imageServerUrl}${random.oneOf(misbehaviours)}` })),
    },
    {
      name: 'half a body, then close',
      right: [left],
      async perform() {
        const socket = connectTo(url);
        socket.resume();
        const [type, body] = random.oneOf([
          ['Content-Type: image/jpeg\r\nContent-Length: 100000', photo.subarray(0, 1000)],
          ['Content-Type: application/json\r\nContent-Length: 100000', '{"image":"'],
          ['Content-Type: image/jpeg\r\nTransfer-Encoding: chunked', '5\r\nab'],
          ['Content-Type: multipart/form-data; boundary=a\r\nContent-Length: 100000', '--a\r\ncontent-disp'],
        ] as const);
        await write(socket, `POST /v1/captions HTTP/1.1\r\nHost: localhost\r\n${type}\r\n\r\n`, body);
        await sleep(random.below(200));
        socket.destroy();
        return left;
      },
    },
    {
      name: 'malformed framing',
      right: ['400 malformed_request', '400'],
      perform: () =>
        exchange(
          url,
          random.oneOf([
            'GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n',
            'GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n',
            'POST /v1/captions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n',
            'POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
            'GET /healthz HTTP/1.1\r\nHost: a\r\nbad field\r\n\r\n',
            '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
          ]),
        ),
    },
    {
      name: 'a body over the limit, written whole before the answer is read',
      right: ['413 body_too_large'],
      perform: () =>
        exchange(url, headOf('/v1/captions', 'image/jpeg', 30_000_000), Buffer.alloc(30_000_000)),
    },
    {
      name: 'twenty connections without a request',
      right: [left],
      async perform() {
        const sockets = Array.from({ length: 20 }, () => connectTo(url));
        for (const socket of sockets) socket.write('POST /v1/captions HTTP/1.1\r\nHost: ');
        await sleep(2000);
        for (const socket of sockets) socket.destroy();
        return left;
      },
    },
  ];
}

const misbehaviours = ['/101', '/redirects', '/cut-off', '/no-http', '/endless', '/html'];

/** A server of image URLs that does as the path says, none of it right. */
export async function createImageServer(): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (request) => {
      const path = /^GET (\/\S*) /.exec(request.toString('latin1'))?.[1];
      if (path === '/101') {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
      } else if (path === '/redirects') {
        socket.end('HTTP/1.1 302 Found\r\nLocation: /redirects\r\nContent-Length: 0\r\n\r\n');
      } else if (path === '/cut-off') {
        socket.end('HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\nabc');
      } else if (path === '/no-http') {
        socket.end('what?\r\n\r\n');
      } else if (path === '/endless') {
        socket.write('HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n');
        const megabyte = Buffer.alloc(1_000_000);
        const more = (): void => {
          while (!socket.destroyed && socket.write(megabyte));
        };
        socket.on('drain', more);
        more();
      } else {
        socket.end('HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>');
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server of images has no port');
  return { url: `http://127.0.0.1:${address.port}`, server };
}
