import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { test } from 'node:test';
import { parse } from 'yaml';
import { quarters } from '../images/drawn.js';
import { formOf, json, startService } from './service.js';
import { responseTo } from './upload.js';

test('/healthz is 200 whatever the scheduler says', async (t) => {
  const { url, scheduler } = await startService(t);
  scheduler.readiness = { ready: false, reason: 'crash loop' };
  const response = await fetch(`${url}/healthz`);
  assert.deepEqual([response.status, await json(response)], [200, { status: 'ok' }]);
});

test('/readyz follows the scheduler, and gives its reason', async (t) => {
  const { url, scheduler } = await startService(t);
  const ready = await fetch(`${url}/readyz`);
  assert.deepEqual([ready.status, await json(ready)], [200, { status: 'ready' }]);
  scheduler.readiness = { ready: false, reason: 'the model is warming up' };
  const response = await fetch(`${url}/readyz`);
  const problem = await json(response);
  assert.deepEqual(
    [response.status, problem['code'], problem['detail']],
    [503, 'not_ready', 'the model is warming up'],
  );
});

test('/v1/models lists the model that is served, in the shape OpenAI’s clients read', async (t) => {
  const { url } = await startService(t);
  const { object, data } = await json(await fetch(`${url}/v1/models`));
  assert.equal(object, 'list');
  const list = Object.values(typeof data === 'object' ? { ...data } : {});
  assert.equal(list.length, 1);
  const { created, calibration, ...model } = Object.fromEntries<unknown>(Object.entries(list[0] ?? {}));
  assert.ok(Number.isInteger(created));
  assert.match(JSON.stringify(calibration), /"cosine"/);
  assert.deepEqual(model, {
    id: 'example',
    object: 'model',
    owned_by: 'pcm-caption',
    aliases: [],
    architecture: { input_modalities: ['text', 'image'], output_modalities: ['text'] },
    version: '1.0.0',
    description: 'A bundle for tests',
    licence: 'MIT',
    sources: ['nowhere'],
    provider: 'cpu',
    devices: [],
    placement: { encoder: 'cpu', mixup: 'cpu', decoder: 'cpu', textEncoder: 'cpu' },
    precision: 'w8',
    image: { width: 16, height: 16, resize: 'stretch' },
    grid: { rows: 2, columns: 2 },
    maxLength: 20,
    beamSize: 2,
    conceptCount: 3,
    quality: { cider: 0.5 },
  });
});

test('/v1/concepts lists the words that are looked for by default', async (t) => {
  const { url } = await startService(t);
  assert.deepEqual(await json(await fetch(`${url}/v1/concepts`)), {
    model: { id: 'example', version: '1.0.0' },
    concepts: ['dog', 'cat', 'tree'],
  });
});

test('/metrics counts answers by route, method and status', async (t) => {
  const { url } = await startService(t);
  const image = await quarters().jpeg().toBuffer();
  await fetch(`${url}/v1/captions`, { method: 'POST', body: formOf(['image', image]) });
  await fetch(`${url}/v1/captions`, { method: 'POST', body: formOf() });
  await fetch(`${url}/no/such/path/${'x'.repeat(50)}`);
  const response = await fetch(`${url}/metrics`);
  const text = await response.text();
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain/);
  assert.match(
    text,
    /http_request_duration_seconds_count\{protocol="pcm-caption",method="POST",route="\/v1\/captions",status="200"\} 1/,
  );
  assert.match(
    text,
    /http_request_duration_seconds_count\{protocol="pcm-caption",method="POST",route="\/v1\/captions",status="400"\} 1/,
  );
  assert.match(
    text,
    /http_request_duration_seconds_count\{protocol="pcm-caption",method="GET",route="none",status="404"\} 1/,
  );
  assert.match(text, /process_resident_memory_bytes \d+/);
  assert.doesNotMatch(text, /xxxxx/);
});

test('/openapi.json is what openapi.yaml says, and describes every route', async (t) => {
  const { url } = await startService(t);
  const served = await json(await fetch(`${url}/openapi.json`));
  const file = await readFile(new URL('../../../openapi.yaml', import.meta.url), 'utf8');
  // What openapi.yaml has beside it is served with a queue server only.
  assertPartOf(served, parse(file));
  assert.equal(served['openapi'], '3.1.0');
  assert.deepEqual(Object.keys(served['paths'] ?? {}).sort(), [
    '/healthz',
    '/metrics',
    '/openapi.json',
    '/readyz',
    '/v1/captions',
    '/v1/captions/batch',
    '/v1/captions/batch/json',
    '/v1/captions/json',
    '/v1/concepts',
    '/v1/embeddings',
    '/v1/models',
    '/v1/scores',
    '/v1/scores/json',
  ]);
});

/** Every member of the one is in the other, and the same; lists are compared whole. */
function assertPartOf(part: unknown, whole: unknown, path = ''): void {
  if (typeof part !== 'object' || part === null || Array.isArray(part)) {
    assert.deepEqual(part, whole, `${path}: run npm run openapi`);
    return;
  }
  assert.ok(typeof whole === 'object' && whole !== null, path);
  const members = new Map(Object.entries(whole));
  for (const [name, value] of Object.entries(part)) assertPartOf(value, members.get(name), `${path}/${name}`);
}

test('an unknown path is 404, and a path with another method 405 with Allow', async (t) => {
  const { url } = await startService(t);
  const missing = await fetch(`${url}/v1/caption`, { method: 'POST', body: 'x' });
  assert.deepEqual([missing.status, (await json(missing))['code']], [404, 'not_found']);
  const slashed = await json(await fetch(`${url}/v1/captions/`, { method: 'POST', body: 'x' }));
  assert.equal(slashed['code'], 'not_found');
  assert.match(String(slashed['detail']), /without the slash/);
  const wrong = await fetch(`${url}/v1/captions?candidates=3`);
  assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'POST']);
  assert.equal((await json(wrong))['code'], 'method_not_allowed');
  const written = await fetch(`${url}/v1/models`, { method: 'DELETE' });
  assert.deepEqual([written.status, written.headers.get('allow')], [405, 'GET, HEAD']);
});

test('methods that few have heard of are 405 too, whatever their body', async (t) => {
  const { url } = await startService(t);
  for (const [method, path] of [
    ['QUERY', '/healthz'],
    ['PUT', '/v1/captions'],
    ['PROPFIND', '/v1/models'],
    ['PATCH', '/v1/scores'],
  ] as const) {
    const sent = request(url + path, { method, headers: { 'content-length': 0 } }).end();
    const { status, code } = await responseTo(sent);
    assert.deepEqual([status, code], [405, 'method_not_allowed'], method);
  }
});

test('a path that is no valid one is 404 like any other', async (t) => {
  const { url } = await startService(t);
  const response = await fetch(`${url}/%E0%A4%A`);
  const { code, requestId } = await json(response);
  assert.deepEqual([response.status, code], [404, 'not_found']);
  assert.equal(requestId, response.headers.get('x-request-id'));
});
