import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createImageFetcher, type FetchRequest } from '../../src/images/fetch-image.js';
import type { ResolveHost } from '../../src/images/public-lookup.js';
import { type ErrorCode, ServiceError } from '../../src/errors.js';
import { packageVersion } from '../../src/version.js';
import { serveImages } from './image-server.js';
import { deadlineExceeded } from '../../src/promises.js';

const bytes = Buffer.from('the bytes of an image');
const here = ['127.0.0.1/32'];

const request = (changes: Partial<FetchRequest> = {}): FetchRequest => ({
  maxBytes: 1000,
  signal: new AbortController().signal,
  ...changes,
});

function fails(fetching: Promise<Buffer>, code: ErrorCode, detail = /./): Promise<void> {
  return assert.rejects(fetching, (error) => {
    assert.ok(error instanceof ServiceError, String(error));
    assert.equal(error.code, code);
    assert.match(error.detail, detail);
    return true;
  });
}

/** Names resolve to these addresses, one list after the other; the last stays. */
function answering(...answers: readonly string[][]): ResolveHost & { readonly times: () => number } {
  let times = 0;
  const resolve = () => {
    const addresses = answers[Math.min(times++, answers.length - 1)] ?? [];
    return Promise.resolve(addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })));
  };
  return Object.assign(resolve, { times: () => times });
}

test('the bytes at a URL are fetched, by name or by address', async (t) => {
  const { url, port } = await serveImages(t, (_request, response) => response.end(bytes));
  const fetchImage = createImageFetcher({ hosts: [], networks: here }, answering(['127.0.0.1']));
  assert.deepEqual(await fetchImage(`${url}/a.jpg`, request()), bytes);
  assert.deepEqual(await fetchImage(`http://images.test:${port}/a.jpg`, request()), bytes);
});

test('a server is told who asks, and that it wants an image as it is', async (t) => {
  const { url } = await serveImages(t, ({ headers }, response) => {
    const { accept, 'accept-encoding': coding, 'user-agent': agent } = headers;
    response.end(JSON.stringify({ accept, coding, agent }));
  });
  const fetchImage = createImageFetcher({ hosts: [], networks: here });
  const told = (await fetchImage(`${url}/a.jpg`, request())).toString();
  assert.equal(
    told,
    JSON.stringify({ accept: 'image/*', coding: 'identity', agent: `pcm-caption/${packageVersion()}` }),
  );
});

test('a name that leads to this machine is not followed, and nothing is asked of it', async (t) => {
  const { port, asked } = await serveImages(t, (_request, response) => response.end(bytes));
  for (const addresses of [['127.0.0.1'], ['93.184.216.34', '127.0.0.1'], ['::ffff:127.0.0.1'], []]) {
    const fetchImage = createImageFetcher({ hosts: [], networks: [] }, answering(addresses));
    await fails(fetchImage(`http://images.test:${port}/`, request()), 'url_not_allowed', /not public/);
  }
  const byRealResolver = createImageFetcher({ hosts: [], networks: [] });
  await fails(byRealResolver(`http://localhost:${port}/`, request()), 'url_not_allowed', /not public/);
  assert.deepEqual(asked, []);
});

test('a name that is rebound after its first answer is judged by the address connected to', async (t) => {
  const secret = await serveImages(t, (_request, response) => response.end('secret'));
  const front = await serveImages(
    t,
    (_request, response) => response.writeHead(302, { location: '/secret' }).end(),
    { address: '127.0.0.2', port: secret.port },
  );
  const resolve = answering(['127.0.0.2'], ['127.0.0.1']);
  const fetchImage = createImageFetcher({ hosts: [], networks: ['127.0.0.2/32'] }, resolve);
  await fails(fetchImage(`http://rebound.test:${secret.port}/`, request()), 'url_not_allowed', /not public/);
  assert.deepEqual([front.asked, secret.asked], [['/'], []]);
  assert.equal(resolve.times(), 2, 'each connection resolves once, and uses what it got');
});

test('redirects are followed a few times, and each is checked like a URL that was sent', async (t) => {
  const targets: Record<string, string> = {
    '/once': '/image',
    '/loop': '/loop',
    '/private': 'http://10.0.0.1/',
    '/metadata': 'http://169.254.169.254/latest/meta-data/',
    '/file': 'file:///etc/passwd',
    '/elsewhere': 'http://other.test/',
    '/broken': 'http://',
  };
  const { url, asked } = await serveImages(t, ({ url: path = '' }, response) => {
    const location = targets[path];
    if (location === undefined) response.end(bytes);
    else response.writeHead(307, { location }).end();
  });
  const fetchImage = createImageFetcher({ hosts: ['127.0.0.1'], networks: here }, answering(['127.0.0.1']));
  assert.deepEqual(await fetchImage(`${url}/once`, request()), bytes);
  await fails(fetchImage(`${url}/loop`, request()), 'url_unreachable', /redirects/);
  assert.equal(asked.filter((path) => path === '/loop').length, 4);
  for (const path of ['private', 'metadata', 'file', 'elsewhere', 'broken']) {
    await fails(fetchImage(`${url}/${path}`, request()), 'url_not_allowed');
  }
});

test('more bytes than the limit are not read, announced or not', async (t) => {
  let written = 0;
  const { url } = await serveImages(t, ({ url: path }, response) => {
    if (path === '/announced') {
      // And nothing after it: what was announced is enough.
      response.writeHead(200, { 'content-length': 1001 }).flushHeaders();
      return;
    }
    const chunk = Buffer.alloc(500);
    const write = () => {
      written += chunk.length;
      if (!response.destroyed) response.write(chunk, () => setImmediate(write));
    };
    write();
  });
  const fetchImage = createImageFetcher({ hosts: [], networks: here });
  for (const path of ['announced', 'endless']) {
    await fails(fetchImage(`${url}/${path}`, request()), 'body_too_large', /1000 bytes/);
  }
  assert.ok(written < 50_000_000);
});

test('a server that does not give an image is unreachable, and why is told without inner words', async (t) => {
  const { url } = await serveImages(t, ({ url: path = '' }, response) => {
    if (path === '/reset') response.destroy();
    else if (path === '/cut')
      response.writeHead(200, { 'content-length': 100 }).write('abc', () => response.destroy());
    else if (path === '/zipped') response.writeHead(200, { 'content-encoding': 'gzip' }).end(bytes);
    else response.writeHead(Number(path.slice(1))).end();
  });
  const fetchImage = createImageFetcher({ hosts: [], networks: here });
  await fails(fetchImage(`${url}/404`, request()), 'url_unreachable', /status 404/);
  await fails(fetchImage(`${url}/204`, request()), 'url_unreachable', /status 204/);
  await fails(fetchImage(`${url}/301`, request()), 'url_unreachable', /status 301/);
  await fails(fetchImage(`${url}/zipped`, request()), 'url_unreachable', /content encoding/);
  for (const path of ['reset', 'cut']) {
    await fails(fetchImage(`${url}/${path}`, request()), 'url_unreachable', /could not be reached\.$/);
  }
  await fails(fetchImage('http://127.0.0.1:1/', request()), 'url_unreachable', /could not be reached\.$/);
  const unknown = createImageFetcher({ hosts: [], networks: [] }, () =>
    Promise.reject(new Error('ENOTFOUND')),
  );
  await fails(unknown('http://nowhere.test/', request()), 'url_unreachable', /could not be reached\.$/);
});

test('a server that changes the protocol sends no image', async (t) => {
  const { url } = await serveImages(t, ({ socket }) => {
    socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n');
  });
  const fetchImage = createImageFetcher({ hosts: [], networks: here });
  await fails(fetchImage(url, request()), 'url_unreachable', /101/);
});

test('a slow server is given up in time, and at once at the deadline or when the client has gone', async (t) => {
  const { url } = await serveImages(t, ({ url: path }, response) => {
    if (path === '/drip') response.write('a');
  });
  const fetchImage = createImageFetcher({ hosts: [], networks: here });
  const hasty = createImageFetcher({ hosts: [], networks: here }, undefined, 100);
  for (const path of ['silent', 'drip']) {
    await fails(hasty(`${url}/${path}`, request()), 'url_unreachable', /in time/);
    const deadline = new AbortController();
    const fetching = fetchImage(`${url}/${path}`, request({ signal: deadline.signal }));
    setTimeout(() => {
      deadline.abort(deadlineExceeded());
    }, 50);
    await fails(fetching, 'deadline_exceeded');
  }
  const client = new AbortController();
  const fetching = fetchImage(`${url}/silent`, request({ signal: client.signal }));
  client.abort();
  await assert.rejects(fetching, { name: 'AbortError' });
});
