import assert from 'node:assert/strict';
import { test } from 'node:test';
import { json, startService } from './service.js';
import { forSwaggerUi } from '../../src/http/openapi/for-swagger-ui.js';
import { isJsonObject } from '../../src/http/openapi/share-schemas.js';

/** Addresses that a page names in its attributes. */
function addresses(page: string): string[] {
  return [...page.matchAll(/\s(?:href|src)="([^"#]+)/g)].map(([, address = '']) => address);
}

test('/ is the playground, and all it names is served with its own type', async (t) => {
  const { url } = await startService(t);
  const response = await fetch(`${url}/`);
  const page = await response.text();
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/html; charset=utf-8');
  const types = new Map<string, string | null>();
  for (const address of addresses(page)) {
    const part = await fetch(new URL(address, `${url}/`));
    assert.equal(part.status, 200, address);
    types.set(address, part.headers.get('content-type'));
  }
  assert.equal(types.get('playground/main.js'), 'text/javascript; charset=utf-8');
  assert.equal(types.get('playground/playground.css'), 'text/css; charset=utf-8');
  assert.equal(types.get('playground/icon.svg'), 'image/svg+xml');
  assert.equal(types.get('docs'), 'text/html; charset=utf-8');
});

test('every module that the playground imports is served', async (t) => {
  const { url } = await startService(t);
  const seen = new Set<string>();
  const visit = async (address: URL): Promise<void> => {
    if (seen.has(address.href)) return;
    seen.add(address.href);
    const response = await fetch(address);
    assert.equal(response.status, 200, address.href);
    const code = await response.text();
    for (const [, name = ''] of code.matchAll(/from '([^']+)'/g)) await visit(new URL(name, address));
  };
  await visit(new URL('/playground/main.js', url));
  assert.ok(seen.size > 5);
});

test('the playground has nothing inline, and its policy allows nothing inline or from elsewhere', async (t) => {
  const { url } = await startService(t);
  const response = await fetch(`${url}/`);
  const page = await response.text();
  assert.doesNotMatch(page, /<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)/i);
  for (const address of addresses(page)) assert.doesNotMatch(address, /^(?:[a-z]+:|\/\/)/i);
  const policy = response.headers.get('content-security-policy') ?? '';
  assert.match(policy, /^default-src 'self';/);
  for (const directive of ['object-src', 'base-uri', 'form-action', 'frame-ancestors']) {
    assert.ok(policy.includes(`; ${directive} 'none'`), directive);
  }
  assert.doesNotMatch(policy, /unsafe|blob:|data:|https?:/);
});

test('what a browser keeps of the playground is not sent again', async (t) => {
  const { url } = await startService(t);
  for (const path of ['/', '/playground/main.js']) {
    const first = await fetch(url + path);
    const tag = first.headers.get('etag') ?? '';
    assert.match(tag, /^"[^"]{20,}"$/);
    assert.equal(first.headers.get('cache-control'), 'no-cache');
    const second = await fetch(url + path, { headers: { 'if-none-match': tag } });
    assert.deepEqual([second.status, await second.text()], [304, '']);
    const other = await fetch(url + path, { headers: { 'if-none-match': '"other"' } });
    assert.equal(other.status, 200);
  }
});

test('/docs shows the document of /openapi.json', async (t) => {
  const { url } = await startService(t);
  const response = await fetch(`${url}/docs`);
  const policy = response.headers.get('content-security-policy') ?? '';
  for (const directive of [
    "default-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ]) {
    assert.ok(policy.includes(directive), directive);
  }
  assert.doesNotMatch(policy, /unsafe|https?:/);
  const page = await response.text();
  assert.match(page, /<title>pcm-caption: API reference<\/title>/);
  const shown = await json(await fetch(`${url}/docs/json`));
  const served: unknown = JSON.parse(await (await fetch(`${url}/openapi.json`)).text());
  assert.ok(isJsonObject(served));
  // Fields of forms begin empty there.
  assert.deepEqual(shown, forSwaggerUi(served));
  assert.deepEqual(shown['paths'], served['paths']);
});

test('the pages take GET alone, and have no other files', async (t) => {
  const { url } = await startService(t);
  const written = await fetch(`${url}/`, { method: 'POST', body: 'x' });
  assert.deepEqual([written.status, written.headers.get('allow')], [405, 'GET, HEAD']);
  for (const path of ['/playground/', '/playground/tsconfig.json', '/playground/..%2f..%2fapp.js']) {
    const missing = await fetch(url + path);
    assert.deepEqual([missing.status, (await json(missing))['code']], [404, 'not_found'], path);
  }
});
