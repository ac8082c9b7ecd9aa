import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test, type TestContext } from 'node:test';
import { Type } from 'typebox';
import { CaptionOptionsSchema } from '../../src/captioner/options.js';
import { modelExamples } from '../../src/http/schemas/models.js';
import { json, startService } from './service.js';

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** The value at a path of names; an empty object where there is none. */
function at(value: unknown, ...names: string[]): Record<string, unknown> {
  const found = names.reduce<unknown>((part, name) => (isObject(part) ? part[name] : undefined), value);
  return isObject(found) ? found : {};
}

async function documentOf(t: TestContext): Promise<Record<string, unknown>> {
  const { url } = await startService(t);
  return json(await fetch(`${url}/openapi.json`));
}

/** Every operation of the document, with its method and path. */
function operationsOf(document: unknown): [name: string, operation: Record<string, unknown>][] {
  return Object.entries(at(document, 'paths')).flatMap(([path, methods]) =>
    Object.entries(at(methods)).map(([method, operation]): [string, Record<string, unknown>] => [
      `${method} ${path}`,
      at(operation),
    ]),
  );
}

/** Every object of the document. */
function* objectsIn(value: unknown): Generator<Record<string, unknown>> {
  if (!isObject(value)) return;
  yield value;
  for (const member of Object.values(value)) yield* objectsIn(member);
}

test('every request and every answer has an example, beside its schema or in it', async (t) => {
  const document = await documentOf(t);
  let contents = 0;
  for (const [name, operation] of operationsOf(document)) {
    const bodies = [at(operation, 'requestBody'), ...Object.values(at(operation, 'responses'))];
    for (const body of bodies) {
      for (const [type, content] of Object.entries(at(body, 'content'))) {
        contents++;
        const { schema } = at(content);
        const shared = String(at(schema)['$ref']).split('/').at(-1) ?? '';
        const examples = [
          at(content, 'examples'),
          at(schema, 'examples'),
          at(document, 'components', 'schemas', shared, 'examples'),
        ];
        assert.ok(
          examples.some((each) => Object.keys(each).length > 0),
          `${name}: ${type}`,
        );
      }
    }
  }
  assert.ok(contents > 50, `${contents} found`);
});

test('each operation is named for what it does, and has one media type for requests and for answers', async (t) => {
  const operations = operationsOf(await documentOf(t));
  const ids = operations.map(([, { operationId }]) => operationId);
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.match(String(id), /^(create|get|list)[A-Z]\w+$/);
  for (const [name, operation] of operations) {
    const types = [at(operation, 'requestBody', 'content'), at(operation, 'responses', '200', 'content')];
    for (const each of types) assert.ok(Object.keys(each).length <= 1, name);
  }
});

test('each option is declared in one place of a request, and under one name in all of them', async (t) => {
  const document = await documentOf(t);
  const schemas = at(document, 'components', 'schemas');
  for (const [name, { parameters }] of operationsOf(document)) assert.equal(parameters, undefined, name);
  for (const body of ['CaptionForm', 'CaptionRequest', 'CaptionBatchForm', 'CaptionBatchRequest']) {
    const properties = at(schemas, body, 'properties');
    for (const [option, schema] of Object.entries(CaptionOptionsSchema.properties)) {
      const { type, $ref } = at(properties, option);
      const name = `${option.charAt(0).toUpperCase()}${option.slice(1)}`;
      if (Type.IsArray(schema)) assert.equal(type, 'array');
      else assert.equal($ref, `#/components/schemas/${name}`);
    }
  }
});

test('numbers have a format, and unions say by which member their types are told apart', async (t) => {
  const document = await documentOf(t);
  let numbers = 0;
  for (const { type, format, anyOf, oneOf, discriminator } of objectsIn(document)) {
    if (type === 'number' || type === 'integer') {
      numbers++;
      assert.match(String(format), type === 'number' ? /^double$/ : /^int(32|64)$/);
    }
    assert.equal(anyOf, undefined);
    if (oneOf !== undefined) assert.ok(isObject(discriminator));
  }
  assert.ok(numbers > 30, `${numbers} found`);
});

test('a discriminator names a member that each type of the union requires', async (t) => {
  const schemas = at(await documentOf(t), 'components', 'schemas');
  const { propertyName, mapping } = at(schemas, 'BatchEntry', 'discriminator');
  for (const [value, reference] of Object.entries(at(mapping))) {
    const schema = at(schemas, String(reference).split('/').at(-1) ?? '');
    assert.equal(at(schema, 'properties', String(propertyName))['const'], value);
    assert.ok(Object.values(at(schema, 'required')).includes(propertyName));
  }
});

test('lists of forms repeat their key in clients too', async (t) => {
  const document = await documentOf(t);
  const form = at(document, 'paths', '/v1/captions', 'post', 'requestBody', 'content', 'multipart/form-data');
  const repeated = { style: 'form', explode: true };
  assert.deepEqual(form['encoding'], { concepts: repeated, avoidWords: repeated });
});

test('each default is said in words, and not by the keyword, which generated clients would send', async (t) => {
  const document = await documentOf(t);
  for (const [name, standard] of [
    ['Candidates', '3'],
    ['ConceptsMode', '`replace`'],
    ['GenderNeutral', 'false'],
    ['MinConfidence', '0'],
    ['Explain', 'false'],
  ] as const) {
    const { description } = at(document, 'components', 'schemas', name);
    assert.ok(String(description).endsWith(`; by default ${standard}.`), `${name}: ${String(description)}`);
  }
  assert.doesNotMatch(JSON.stringify(document), /"default":/);
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
