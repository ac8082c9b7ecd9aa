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
/** base64 of "no photo". */
const noImage = 'bm8gcGhvdG8=';

/** Files are texts in the types, and lists repeat their key. */
function formOf(files: readonly Uint8Array<ArrayBuffer>[], options: object): () => FormData {
  return () => {
    const form = new FormData();
    for (const file of files) form.append('image', new Blob([file]));
    for (const [name, value] of Object.entries(options)) {
      for (const each of [value].flat()) form.append(name, String(each));
    }
    return form;
  };
}

test('a photo is captioned from JSON', async () => {
  const { data, error } = await client.POST('/v1/captions/json', {
    body: { image, candidates: 2, avoidWords: ['photo'], explain: true },
  });
  assert.equal(error, undefined);
  assert.match(data?.caption ?? '', /^[A-Z]/);
  assert.ok(data && data.confidence > 0 && data.captions.length <= 2);
  const { rows, columns } = data.gridSize ?? { rows: 0, columns: 0 };
  assert.equal(data.concepts[0]?.patches?.length, rows * columns);
});

test('a photo is captioned from a form', async () => {
  const options = { maxLength: 8, avoidWords: ['photo', 'picture'] };
  const { data } = await client.POST('/v1/captions', {
    body: { image: '', ...options },
    bodySerializer: formOf([photo], options),
  });
  assert.match(data?.caption ?? '', /^[A-Z]/);
});

test('a batch has an entry for each image, and a typed problem for one that is none', async () => {
  const options = { candidates: 1 };
  for (const { data } of [
    await client.POST('/v1/captions/batch/json', {
      body: { images: [{ image }, { image: noImage }], ...options },
    }),
    await client.POST('/v1/captions/batch', {
      body: { image: [], ...options },
      bodySerializer: formOf([photo, Buffer.from('no photo')], options),
    }),
  ]) {
    const captions: (string | null)[] = [];
    const problems: components['schemas']['Problem'][] = [];
    for (const entry of data?.results ?? []) {
      if (entry.outcome === 'captioned') captions.push(entry.result.caption);
      else problems.push(entry.error);
    }
    assert.match(captions[0] ?? '', /^[A-Z]/);
    assert.deepEqual(
      problems.map(({ code, status }) => [code, status]),
      [['unsupported_image_format', 415]],
    );
  }
});

test('texts are scored', async () => {
  const texts = ['A photo of food', 'A dog'];
  for (const { data } of [
    await client.POST('/v1/scores/json', { body: { image, texts } }),
    await client.POST('/v1/scores', {
      body: { image: '', texts },
      bodySerializer: formOf([photo], { texts }),
    }),
  ]) {
    assert.deepEqual(
      data?.scores.map(({ text }) => text),
      texts,
    );
    assert.ok(data.scores.every(({ matchProbability }) => matchProbability !== null));
  }
});

test('a text and an image are embedded', async () => {
  const { data } = await client.POST('/v1/embeddings', { body: { input: [{ text: 'a dog' }, { image }] } });
  const squares = data?.data[1]?.embedding.map((value) => value * value) ?? [];
  assert.ok(Math.abs(squares.reduce((sum, square) => sum + square, 0) - 1) < 1e-3);
});

test('what is refused comes as a typed problem', async () => {
  const { data, error, response } = await client.POST('/v1/captions/json', {
    body: { image, candidates: 99 },
  });
  assert.equal(data, undefined);
  assert.deepEqual([error?.code, error?.status, response.status], ['invalid_option', 400, 400]);
  assert.match(error?.detail ?? '', /candidates/);
  const stranger = createClient<paths>({ baseUrl: SERVICE_URL });
  assert.equal((await stranger.GET('/v1/models')).error?.code, 'unauthorized');
});
