import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../../src/config.js';
import { chooseProtocols, protocols } from '../../src/protocols/list.js';
import { startService } from '../http/service.js';
import { ask, at, caption, image } from './replay.js';

const key = 'a-key-of-the-tests-1';
const call = ['/api/generate', { images: [image.base64], stream: false }] as const;

test('a key is taken in each header that clients send it in', async (t) => {
  const service = await startService(t, { API_KEYS: key });
  const refused = await ask(service, ...call);
  assert.equal(refused.status, 401);
  assert.match(String(refused.body['error']), /API key/);
  for (const headers of [
    { authorization: `Bearer ${key}` },
    { 'api-key': key },
    { 'ocp-apim-subscription-key': key },
    { authorization: 'Bearer not-needed', 'api-key': key },
  ]) {
    const { status, body } = await ask(service, ...call, { headers });
    assert.equal(status, 200);
    assert.equal(body['response'], caption);
  }
  assert.equal((await ask(service, ...call, { headers: { 'api-key': `${key}x` } })).status, 401);
  const { body: models } = await ask(service, 'GET /v1/models');
  assert.match(String(at(models, 'error', 'message')), /API key/, 'in the words that clients of OpenAI read');
});

test('paths that the operator lists need no key, and all others do', async (t) => {
  const service = await startService(t, { API_KEYS: key, KEYLESS_PATHS: '/api/chat,/api/tags' });
  assert.equal((await ask(service, 'GET /api/tags')).status, 200);
  assert.equal((await ask(service, '/api/chat', { messages: [] })).status, 200);
  assert.equal((await ask(service, '/api/chat?x=/api/chat', { messages: [] })).status, 200);
  assert.equal((await ask(service, ...call)).status, 401);
  assert.equal((await ask(service, 'GET /v1/models?/api/chat')).status, 401);
});

test('the rate limit counts requests of all protocols and of /v1 together', async (t) => {
  const service = await startService(t, { RATE_LIMIT: '2' });
  await ask(service, 'GET /v1/models');
  await ask(service, 'GET /api/tags');
  const { status, headers, body } = await ask(service, ...call);
  assert.equal(status, 429);
  assert.ok(headers.get('retry-after'));
  assert.match(String(body['error']), /requests a minute/);
});

test('a full queue refuses a request before its body is read, with Retry-After', async (t) => {
  const service = await startService(t);
  service.scheduler.capacity = 0;
  for (const path of ['/api/generate', '/v1/chat/completions']) {
    const { status, headers } = await ask(service, path, {});
    assert.equal(status, 503);
    assert.equal(headers.get('retry-after'), '7');
  }
});

test('several images take a slot each, and all are given back', async (t) => {
  const { scheduler, ...service } = await startService(t);
  scheduler.capacity = 2;
  const images = [image.base64, `${image.base64}\n`, `${image.base64}\n\n`];
  assert.equal((await ask(service, '/api/generate', { images })).status, 503);
  await scheduler.idle();
  assert.equal((await ask(service, '/api/generate', { images: images.slice(1) })).status, 200);
  await scheduler.idle();
});

test('a request may have as many images as a batch', async (t) => {
  const service = await startService(t, { MAX_BATCH_IMAGES: '1' });
  const images = [image.base64, `${image.base64}\n`];
  const { status, body } = await ask(service, '/api/generate', { images });
  assert.equal(status, 400);
  assert.match(String(body['error']), /at most 1 images/);
});

test('requests are counted by protocol', async (t) => {
  const service = await startService(t);
  await ask(service, ...call);
  const { text } = await ask(service, 'GET /metrics');
  assert.match(text, /count\{protocol="ollama",method="POST",route="\/api\/generate",status="200"\} 1/);
});

test('PROTOCOLS chooses what is served', async (t) => {
  const service = await startService(t, { PROTOCOLS: 'openai' });
  assert.equal((await ask(service, 'GET /api/tags')).status, 404);
  assert.equal((await ask(service, '/v1/chat/completions', { messages: [] })).status, 200);
  const none = await startService(t, { PROTOCOLS: 'none' });
  assert.equal((await ask(none, '/v1/chat/completions', { messages: [] })).status, 404);
  assert.deepEqual(chooseProtocols(['all']), protocols);
  assert.throws(() => chooseProtocols(['ollama', 'grpc']), ConfigError);
});

test('hostile JSON is refused before it is parsed, whatever type it claims, in the shape of the protocol', async (t) => {
  const service = await startService(t);
  const nested = `{"images":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
  const many = `{"images":[${'0,'.repeat(2_000_000)}0]}`;
  for (const body of [nested, many, '{"__proto__": {"images": []}}', '{"images": [', '[]', '{}']) {
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/plain']) {
      const headers = { 'content-type': type };
      const answer = await ask(service, '/v1/chat/completions', undefined, { headers, body });
      assert.ok(answer.status === 400 || body === '{}', `${answer.status}: ${body.slice(0, 40)}`);
      if (body !== '{}') assert.equal(typeof answer.body['error'], 'object');
    }
  }
  assert.equal(service.scheduler.items.length, 0);
  await service.scheduler.idle();
});

test('wrong types are errors only where the value is used', async (t) => {
  const service = await startService(t);
  const odd = {
    model: 'example',
    images: [image.base64],
    stream: false,
    prompt: [],
    options: 7,
    keep_alive: {},
  };
  assert.equal((await ask(service, '/api/generate', odd)).status, 200);
  const refused: [string, object][] = [
    ['/api/generate', { model: 7, images: [image.base64] }],
    ['/api/generate', { images: [7] }],
    ['/api/generate', { images: [{}] }],
    ['/v1/chat/completions', { messages: [{ content: [{ image_url: { url: 7 } }] }] }],
    ['/v1/responses', { input: [{ content: [{ image_url: [] }] }] }],
    ['/api/v1/vision/caption', { images: [null] }],
    ['/v2/models/example/infer', { inputs: 7 }],
  ];
  for (const [path, body] of refused) {
    assert.equal((await ask(service, path, body)).status, 400, `${path} ${JSON.stringify(body)}`);
  }
});
