import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quarters } from '../images/drawn.js';
import { serveImages } from '../images/image-server.js';
import { formOf, json, startService } from './service.js';

const photo = await quarters(300, 200).png().toBuffer();
const allowed = { ALLOW_URL_IMAGES: 'true', URL_IMAGE_NETWORKS: '127.0.0.1/32' };

function post(url: string, body: object): Promise<Response> {
  const init =
    body instanceof FormData
      ? { body }
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return fetch(url, { method: 'POST', ...init });
}

test('an image is captioned and scored by its URL, in JSON, a form or the query', async (t) => {
  const images = await serveImages(t, (_request, response) => response.end(photo));
  const { url: service, scheduler } = await startService(t, allowed);
  const url = `${images.url}/a.png`;
  const query = `?url=${encodeURIComponent(url)}`;
  for (const response of [
    await post(`${service}/v1/captions`, { url, candidates: 2 }),
    await post(`${service}/v1/captions`, formOf(['url', url], ['candidates', '2'])),
    await fetch(`${service}/v1/captions${query}`, { method: 'POST' }),
    await post(`${service}/v1/scores`, { url, texts: ['a dog'] }),
  ]) {
    const result = await json(response);
    assert.equal(response.status, 200, JSON.stringify(result));
    assert.deepEqual(result['image'], { width: 300, height: 200, format: 'png' });
  }
  assert.equal(images.asked.length, 4);
  await scheduler.idle();
});

test('in a batch, an address that gives no image spoils its own entry', async (t) => {
  const images = await serveImages(t, ({ url }, response) => {
    response.writeHead(url === '/a.png' ? 200 : 404).end(photo);
  });
  const { url: service, scheduler } = await startService(t, allowed);
  const urls = ['/a.png', '/b.png'].map((path) => ({ url: images.url + path }));
  const body = {
    images: [...urls, { url: 'http://169.254.169.254/' }, { url: 7 }, { image: photo.toString('base64') }],
  };
  const { results } = await json(await post(`${service}/v1/captions/batch`, body));
  const codes = JSON.stringify(results).match(/"(result|code)":("\w+")?/g);
  assert.deepEqual(codes, [
    '"result":',
    '"code":"url_unreachable"',
    '"code":"url_not_allowed"',
    '"code":"url_not_allowed"',
    '"result":',
  ]);
  await scheduler.idle();
});

test('a URL and an image are two images', async (t) => {
  const { url: service } = await startService(t, allowed);
  const response = await post(`${service}/v1/captions`, {
    url: 'http://a.test/',
    image: photo.toString('base64'),
  });
  assert.deepEqual([response.status, (await json(response))['code']], [400, 'too_many_images']);
  for (const path of ['captions?url=a&url=b', 'captions/batch?url=a&url=b&url=c']) {
    const batch = await startService(t, { ...allowed, MAX_BATCH_IMAGES: '2' });
    const refused = await fetch(`${batch.url}/v1/${path}`, { method: 'POST' });
    assert.equal((await json(refused))['code'], 'too_many_images', path);
  }
});

test('without the setting nothing is fetched, and with it nothing private', async (t) => {
  const images = await serveImages(t, (_request, response) => response.end(photo));
  for (const environment of [{ URL_IMAGE_NETWORKS: '127.0.0.1/32' }, { ALLOW_URL_IMAGES: 'true' }]) {
    const { url: service, scheduler } = await startService(t, environment);
    const response = await post(`${service}/v1/captions`, { url: `${images.url}/a.png` });
    assert.deepEqual([response.status, (await json(response))['code']], [400, 'url_not_allowed']);
    await scheduler.idle();
  }
  assert.deepEqual(images.asked, []);
});

test('an image larger than the limit is refused like a body', async (t) => {
  const images = await serveImages(t, (_request, response) => response.end(Buffer.alloc(5000)));
  const { url: service } = await startService(t, { ...allowed, MAX_BODY_BYTES: '4096' });
  const response = await post(`${service}/v1/captions`, { url: images.url });
  assert.deepEqual([response.status, (await json(response))['code']], [413, 'body_too_large']);
});
