import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { modelExamples } from '../../src/http/schemas/models.js';
import { imageFormats } from '../../src/images/format.js';
import { json, startService } from './service.js';

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** The value at a path of names; an empty object where there is none. */
function at(value: unknown, ...names: string[]): Record<string, unknown> {
  const found = names.reduce<unknown>((part, name) => (isObject(part) ? part[name] : undefined), value);
  return isObject(found) ? found : {};
}

test('every request and every answer has an example in each of its media types', async (t) => {
  const { url } = await startService(t);
  const document = await json(await fetch(`${url}/openapi.json`));
  let contents = 0;
  for (const path of Object.keys(at(document, 'paths'))) {
    for (const [method, operation] of Object.entries(at(document, 'paths', path))) {
      const bodies = [at(operation, 'requestBody'), ...Object.values(at(operation, 'responses'))];
      for (const body of bodies) {
        for (const [type, content] of Object.entries(at(body, 'content'))) {
          contents++;
          assert.ok(Object.keys(at(content, 'examples')).length > 0, `${method} ${path}: ${type}`);
        }
      }
    }
  }
  assert.ok(contents > 50, `${contents} found`);
});

test('each image type that is taken is listed, and each operation is named for what it does', async (t) => {
  const { url } = await startService(t);
  const document = await json(await fetch(`${url}/openapi.json`));
  const types = Object.keys(at(document, 'paths', '/v1/captions', 'post', 'requestBody', 'content'));
  for (const format of imageFormats) assert.ok(types.includes(`image/${format}`), format);
  const ids = Object.values(at(document, 'paths')).flatMap((path) =>
    Object.values(at(path)).map((operation) => at(operation)['operationId']),
  );
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.match(String(id), /^(create|get|list)[A-Z]\w+$/);
});

test('the example of a model has only members that the embedded bundle has', async () => {
  const text = await readFile(new URL('../../../models/default/bundle.json', import.meta.url), 'utf8');
  const bundle: unknown = JSON.parse(text);
  const [example] = modelExamples.embedded.value.data;
  for (const place of [['calibration'], ['calibration', 'confidence'], ['quality'], ['quality', 'w8']]) {
    const [known, shown] = [at(bundle, ...place), at(example, ...place)];
    assert.ok(Object.keys(shown).length > 0);
    for (const name of Object.keys(shown)) assert.ok(name in known, [...place, name].join('.'));
  }
});

test('header fields beyond 16 KiB are a problem like any other', async (t) => {
  const { url } = await startService(t);
  const response = await fetch(`${url}/healthz`, { headers: { 'x-long': 'a'.repeat(20_000) } });
  assert.deepEqual([response.status, (await json(response))['code']], [431, 'headers_too_large']);
  assert.equal(response.headers.get('content-type'), 'application/problem+json');
});
