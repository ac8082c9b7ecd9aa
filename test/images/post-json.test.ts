import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { createJsonPoster } from '../../src/images/post-json.js';

const received: { url: string | undefined; type: string | undefined; body: string }[] = [];
let server: Server;
let port: number;

before(async () => {
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += String(chunk)));
    request.on('end', () => {
      received.push({ url: request.url, type: request.headers['content-type'], body });
      const isMoved = request.url === '/moved';
      response.writeHead(isMoved ? 302 : 204, isMoved ? { location: '/elsewhere' } : {}).end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  ({ port } = addressOf(server));
});
after(() => server.close());

function addressOf(listening: Server): AddressInfo {
  const address = listening.address();
  assert.ok(typeof address === 'object' && address !== null);
  return address;
}

const post = { body: '{"a":"ü"}', headers: {}, signal: AbortSignal.timeout(10_000) };

test('JSON is posted to a server that is allowed, and its status comes back', async () => {
  const send = createJsonPoster({ hosts: [], networks: ['127.0.0.0/8'] });
  assert.equal(await send(`http://127.0.0.1:${port}/hook`, post), 204);
  assert.deepEqual(received.pop(), { url: '/hook', type: 'application/json', body: post.body });
});

test('a redirect is not followed', async () => {
  const send = createJsonPoster({ hosts: [], networks: ['127.0.0.0/8'] });
  assert.equal(await send(`http://127.0.0.1:${port}/moved`, post), 302);
  assert.deepEqual(
    received.splice(0).map(({ url }) => url),
    ['/moved'],
  );
});

test('an address that is not public is refused, as it is and behind a name', async () => {
  const send = createJsonPoster({ hosts: [], networks: [] }, () =>
    Promise.resolve([{ address: '127.0.0.1', family: 4 }]),
  );
  for (const host of ['127.0.0.1', '[::1]', 'inside.example.org']) {
    await assert.rejects(send(`http://${host}:${port}/hook`, post), { code: 'url_not_allowed' }, host);
  }
  assert.deepEqual(received, []);
});

test('a server that is away is an error', async () => {
  const send = createJsonPoster({ hosts: [], networks: ['127.0.0.0/8'] });
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port: closed } = addressOf(other);
  other.close();
  await once(other, 'close');
  await assert.rejects(send(`http://127.0.0.1:${closed}/`, post), { code: 'ECONNREFUSED' });
});
