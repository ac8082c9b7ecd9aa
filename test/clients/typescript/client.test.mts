import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import createClient from 'openapi-fetch';
import type { components, paths } from './schema.js';

const { SERVICE_URL = '', API_KEY = '', PHOTO = '' } = process.env;

const client = createClient<paths>({
  baseUrl: SERVICE_URL,
  headers: { authorization: `Bearer ${API_KEY}` },
});
const photo = await readFile(PHOTO);
const image = photo.toString('base64');

test('a photo is captioned', async () => {
  const { data, error } = await client.POST('/v1/captions', {
    body: { image, candidates: 2, avoidWords: ['photo'], explain: true },
  });
  assert.equal(error, undefined);
  assert.match(data?.caption ?? '', /^[A-Z]/);
  assert.ok(data && data.confidence > 0 && data.captions.length <= 2);
  const { rows, columns } = data.gridSize ?? { rows: 0, columns: 0 };
  assert.equal(data.concepts[0]?.patches?.length, rows * columns);
});

test('a photo is captioned from a form', async () => {
  const { data } = await client.POST('/v1/captions', {
    body: { image: '', maxLength: 8 },
    bodySerializer: () => {
      const form = new FormData();
      form.set('image', new Blob([photo]));
      form.set('maxLength', '8');
      return form;
    },
  });
  assert.match(data?.caption ?? '', /^[A-Z]/);
});

test('a batch has an entry for each image, and a typed problem for one that is none', async () => {
  const { data } = await client.POST('/v1/captions/batch', {
    body: { images: [{ image }, { image: 'bm8gcGhvdG8=' }], candidates: 1 },
  });
  // The other type of this answer is a line of NDJSON.
  assert.ok(data && 'results' in data);
  const captions: (string | null)[] = [];
  const problems: components['schemas']['Problem'][] = [];
  for (const entry of data.results) {
    if ('result' in entry) captions.push(entry.result.caption);
    else problems.push(entry.error);
  }
  assert.match(captions[0] ?? '', /^[A-Z]/);
  assert.deepEqual(
    problems.map(({ code, status }) => [code, status]),
    [['unsupported_image_format', 415]],
  );
});

test('texts are scored', async () => {
  const { data } = await client.POST('/v1/scores', { body: { image, texts: ['A photo of food', 'A dog'] } });
  assert.equal(data?.scores.length, 2);
  assert.ok(data.scores.every(({ matchProbability }) => matchProbability !== null));
});

test('what is refused comes as a typed problem', async () => {
  const { data, error, response } = await client.POST('/v1/captions', { body: { image, candidates: 99 } });
  assert.equal(data, undefined);
  assert.deepEqual([error?.code, error?.status, response.status], ['invalid_option', 400, 400]);
  assert.match(error?.detail ?? '', /candidates/);
  const stranger = createClient<paths>({ baseUrl: SERVICE_URL });
  assert.equal((await stranger.GET('/v1/models')).error?.code, 'unauthorized');
});
