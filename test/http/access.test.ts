import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { quarters } from '../images/drawn.js';
import { formOf, json, startService } from './service.js';
import { beginUpload, responseTo } from './upload.js';

const photo = await quarters().jpeg().toBuffer();
const [plain, hashed] = ['first-key-0123456789', 'second-key-987654321'];
const hash = createHash('sha256').update(hashed).digest('hex');
const keys = { API_KEYS: `${plain},sha256:${hash}` };
const bearing = (authorization: string) => ({ headers: { authorization } });

test('with keys, everything under /v1/ needs one of them', async (t) => {
  const { url, scheduler, log } = await startService(t, keys);
  const calls: [string, RequestInit][] = [
    ['/v1/captions', { method: 'POST' }],
    ['/v1/captions/json', { method: 'POST' }],
    ['/v1/captions/batch', { method: 'POST' }],
    ['/v1/captions/batch/json', { method: 'POST' }],
    ['/v1/scores/json', { method: 'POST' }],
    ['/v1/scores', { method: 'POST' }],
    ['/v1/models', {}],
    ['/v1/models', { method: 'HEAD' }],
    ['/v1/concepts', {}],
  ];
  for (const [path, init] of calls) {
    const body = path.startsWith('/v1/c') && init.method === 'POST' ? formOf(['image', photo]) : null;
    const response = await fetch(url + path, { ...init, body });
    assert.equal(response.status, 401, path);
    assert.equal(response.headers.get('www-authenticate'), 'Bearer realm="pcm-caption"');
    if (init.method !== 'HEAD') assert.equal((await json(response))['code'], 'unauthorized');
  }
  for (const key of [plain, hashed]) {
    const response = await fetch(`${url}/v1/captions`, {
      method: 'POST',
      body: formOf(['image', photo]),
      ...bearing(`Bearer ${key}`),
    });
    assert.equal(response.status, 200);
  }
  assert.equal((await fetch(`${url}/v1/models`, bearing(`bearer ${plain}`))).status, 200);
  await scheduler.idle();
  assert.ok(!log().includes(plain) && !log().includes(hashed));
});

test('what is no key is refused, and the answer says so', async (t) => {
  const { url } = await startService(t, keys);
  for (const authorization of [
    ...[`Bearer ${plain}x`, `Bearer ${plain.slice(0, -1)}`, `Bearer sha256:${hash}`, `Bearer ${hash}`],
    ...[`Bearer ${plain.toUpperCase()}`, 'Bearer undefined'],
  ]) {
    const response = await fetch(`${url}/v1/models`, bearing(authorization));
    assert.equal(response.status, 401, authorization);
    assert.match(response.headers.get('www-authenticate') ?? '', /error="invalid_token"/);
    assert.match(String((await json(response))['detail']), /not valid/);
  }
  for (const authorization of ['Bearer', 'Bearer ', `Basic ${plain}`, plain, `Bearer a ${plain}`]) {
    assert.equal((await fetch(`${url}/v1/models`, bearing(authorization))).status, 401, authorization);
  }
});

test('a request without a key takes no slot, and is refused before its body has come', async (t) => {
  const { url, scheduler } = await startService(t, keys);
  const upload = beginUpload(`${url}/v1/captions`, 'image/jpeg', photo.length);
  const { status, code } = await responseTo(upload);
  assert.deepEqual([status, code, scheduler.admissions], [401, 'unauthorized', 0]);
  upload.destroy();
});

test('health, readiness, figures and the reference need no key', async (t) => {
  const { url } = await startService(t, keys);
  for (const path of ['/healthz', '/readyz', '/metrics', '/openapi.json']) {
    assert.equal((await fetch(url + path)).status, 200, path);
  }
});

test('beyond the limit a client is told to wait, and how long; its slots stay free', async (t) => {
  const { url, scheduler } = await startService(t, { RATE_LIMIT: '2' });
  const first = await fetch(`${url}/v1/models`);
  assert.deepEqual(
    [first.headers.get('ratelimit-limit'), first.headers.get('ratelimit-remaining')],
    ['2', '1'],
  );
  await fetch(`${url}/v1/concepts`);
  const response = await fetch(`${url}/v1/captions`, { method: 'POST', body: formOf(['image', photo]) });
  assert.deepEqual([response.status, (await json(response))['code']], [429, 'rate_limited']);
  const seconds = Number(response.headers.get('retry-after'));
  assert.ok(seconds > 0 && seconds <= 60, String(seconds));
  assert.equal(scheduler.admissions, 0);
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
});

test('each key is counted for itself, and those without one by their address', async (t) => {
  const { url } = await startService(t, { ...keys, RATE_LIMIT: '1' });
  const status = async (authorization: string) =>
    (await fetch(`${url}/v1/models`, bearing(authorization))).status;
  assert.equal(await status(`Bearer ${plain}`), 200);
  assert.equal(await status(`Bearer ${plain}`), 429);
  assert.equal(await status(`Bearer ${hashed}`), 200);
  assert.equal(await status('Bearer guess-1-0123456789'), 401);
  assert.equal(await status('Bearer guess-2-0123456789'), 429);
});

test('behind a proxy that is trusted, clients are told apart by the address it names, and only then', async (t) => {
  const asks = async (environment: Record<string, string>) => {
    const { url } = await startService(t, { RATE_LIMIT: '1', ...environment });
    const statuses: number[] = [];
    for (const address of ['192.0.2.1', '192.0.2.2', '192.0.2.1', '2001:db8::1', '2001:db8::2']) {
      const headers = { 'x-forwarded-for': address };
      statuses.push((await fetch(`${url}/v1/models`, { headers })).status);
    }
    return statuses;
  };
  assert.deepEqual(await asks({}), [200, 429, 429, 429, 429]);
  assert.deepEqual(await asks({ TRUST_PROXY: '10.0.0.0/8' }), [200, 429, 429, 429, 429]);
  // One IPv6 network is one client.
  assert.deepEqual(await asks({ TRUST_PROXY: '127.0.0.0/8' }), [200, 200, 429, 200, 429]);
});

test('an address that a client makes up before a trusted proxy’s is not believed', async (t) => {
  const { url } = await startService(t, { RATE_LIMIT: '1', TRUST_PROXY: '127.0.0.0/8' });
  const status = async (addresses: string) =>
    (await fetch(`${url}/v1/models`, { headers: { 'x-forwarded-for': addresses } })).status;
  assert.equal(await status('1.1.1.1, 192.0.2.1'), 200);
  assert.equal(await status('2.2.2.2, 192.0.2.1'), 429);
});

test('pages of the origins that are named may call, and read what they need', async (t) => {
  const { url } = await startService(t, { ...keys, CORS_ORIGINS: 'https://a.example, https://b.example' });
  const preflight = await fetch(`${url}/v1/captions`, {
    method: 'OPTIONS',
    headers: {
      origin: 'https://a.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,mcp-method,x-stainless-lang',
    },
  });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get('access-control-allow-origin'), 'https://a.example');
  assert.match(preflight.headers.get('access-control-allow-methods') ?? '', /POST.*DELETE/);
  assert.match(
    preflight.headers.get('access-control-allow-headers') ?? '',
    /authorization.*mcp-method.*x-stainless-lang/,
  );
  const refused = await fetch(`${url}/v1/models`, { headers: { origin: 'https://b.example' } });
  assert.equal(refused.status, 401);
  assert.equal(refused.headers.get('access-control-allow-origin'), 'https://b.example');
  assert.match(refused.headers.get('access-control-expose-headers') ?? '', /server-timing.*retry-after/);
  assert.match(refused.headers.get('vary') ?? '', /origin/i);
  const other = await fetch(`${url}/v1/models`, { headers: { origin: 'https://c.example' } });
  assert.equal(other.headers.get('access-control-allow-origin'), null);
});

test('without origins no page of another origin may call, and OPTIONS is a method like others', async (t) => {
  const { url } = await startService(t);
  const response = await fetch(`${url}/v1/models`, { headers: { origin: 'https://a.example' } });
  assert.equal(response.headers.get('access-control-allow-origin'), null);
  assert.equal((await fetch(`${url}/v1/models`, { method: 'OPTIONS' })).status, 405);
});

test('unknown paths and methods are problems with CORS as without', async (t) => {
  const { url } = await startService(t, { CORS_ORIGINS: '*' });
  assert.equal((await fetch(`${url}/v1/caption`)).status, 404);
  const wrong = await fetch(`${url}/v1/captions`);
  assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'POST']);
  assert.equal((await fetch(`${url}/v1/models`)).headers.get('access-control-allow-origin'), '*');
});

test('every answer, problems too, has headers against being misused in a browser', async (t) => {
  const { url } = await startService(t);
  for (const path of ['/v1/models', '/no/such/path', '/healthz']) {
    const { headers } = await fetch(url + path);
    const policy = headers.get('content-security-policy') ?? '';
    for (const directive of ['default-src', 'base-uri', 'form-action', 'frame-ancestors']) {
      assert.match(policy, new RegExp(`(^|;)${directive} 'none'(;|$)`));
    }
    assert.doesNotMatch(policy, /unsafe|https?:|\*/);
    assert.equal(headers.get('x-frame-options'), 'DENY');
    assert.equal(headers.get('cross-origin-resource-policy'), 'same-origin');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
    assert.equal(headers.get('referrer-policy'), 'no-referrer');
    assert.equal(headers.get('x-powered-by'), null);
  }
});
