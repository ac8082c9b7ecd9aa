import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Compile } from 'typebox/compile';
import { ScoreResultSchema } from '../../src/captioner/results.js';
import { quarters } from '../images/drawn.js';
import { formOf, json, type Service, startService } from './service.js';

const photo = await quarters(300, 200).png().toBuffer();
const resultCheck = Compile(ScoreResultSchema);

async function score({ url }: Service, init: RequestInit, query = '') {
  const response = await fetch(`${url}/v1/scores${query}`, { method: 'POST', ...init });
  const body = await json(response);
  return { status: response.status, body, code: body['code'], detail: String(body['detail']) };
}

const asForm = (...texts: string[]): RequestInit => ({
  body: formOf(['image', photo], ...texts.map((text) => ['texts', text] as const)),
});
const asJson = (members: object): RequestInit => ({
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ image: photo.toString('base64'), ...members }),
});
const asBody: RequestInit = { headers: { 'content-type': 'image/png' }, body: photo };
const [fits, differs] = ['A red picture, with a comma & more: é 🐶', 'a blue one'];

test('a form, a raw body and JSON get each text its scores, in the order sent', async (t) => {
  const service = await startService(t);
  const query = `?${String(new URLSearchParams([fits, differs].map((text): [string, string] => ['texts', text])))}`;
  for (const { status, body } of [
    await score(service, asForm(fits, differs)),
    await score(service, asJson({ texts: [fits, differs] })),
    await score(service, asBody, query),
  ]) {
    assert.equal(status, 200, JSON.stringify(body));
    assert.ok(resultCheck.Check(body), JSON.stringify(resultCheck.Errors(body)));
    const { timing, ...rest } = body;
    assert.deepEqual(rest, {
      scores: [
        { text: fits, cosine: 0.4, clipScore: 1, matchProbability: 0.98, truncated: false },
        { text: differs, cosine: -0.123457, clipScore: 0, matchProbability: 0.02, truncated: false },
      ],
      image: { width: 300, height: 200, format: 'png' },
      model: { id: 'example', version: '1.0.0' },
    });
    assert.deepEqual([timing.queueMs, timing.encodeMs, timing.scoreMs], [1.25, 2, 0.5]);
    assert.ok(0 < timing.decodeMs && timing.decodeMs <= timing.totalMs);
  }
  await service.scheduler.idle();
});

test('a body of no particular type is an image', async (t) => {
  const headers = { 'content-type': 'application/octet-stream' };
  const { status } = await score(await startService(t), { headers, body: photo }, '?texts=red');
  assert.equal(status, 200);
});

test('a text the model reads in part only is marked', async (t) => {
  const { body } = await score(await startService(t), asForm('red '.repeat(110)));
  assert.match(JSON.stringify(body), /"truncated":true/);
});

test('texts of the query are for images that are the body', async (t) => {
  const service = await startService(t);
  const { code, detail } = await score(service, asJson({ texts: ['a dog'] }), '?texts=a%20dog');
  assert.deepEqual([code, detail.includes('belong in')], ['invalid_option', true]);
});

const refused: [string, RequestInit, RegExp][] = [
  ['no text', asForm(), /texts must be a list of 1 to 64/],
  ['an empty list', asJson({ texts: [] }), /texts must be/],
  ['a text in place of a list', asJson({ texts: 'a dog' }), /texts must be/],
  ['an empty text', asForm('a dog', ''), /texts must be/],
  ['a blank text', asForm('  '), /texts must be/],
  ['a text too long', asForm('a'.repeat(501)), /500 characters/],
  ['too many texts', asForm(...Array.from({ length: 65 }, () => 'a dog')), /1 to 64/],
  ['an option of captions', asJson({ texts: ['a'], candidates: 2 }), /"candidates"/],
];
for (const [what, init, detail] of refused) {
  test(`${what} is a problem of the options`, async (t) => {
    const service = await startService(t);
    const { status, code, detail: found } = await score(service, init);
    assert.deepEqual([status, code], [400, 'invalid_option']);
    assert.match(found, detail);
    await service.scheduler.idle();
  });
}

test('an image that is none, none or two are problems as for captions', async (t) => {
  const service = await startService(t);
  const form = (...parts: [string, Buffer][]) => ({ body: formOf(['texts', 'a dog'], ...parts) });
  assert.equal((await score(service, form())).code, 'missing_image');
  assert.equal((await score(service, form(['image', Buffer.from('text')]))).code, 'unsupported_image_format');
  assert.equal((await score(service, form(['image', photo], ['image', photo]))).code, 'too_many_images');
  assert.equal((await score(service, asJson({ image: '*', texts: ['a'] }))).code, 'invalid_base64');
  await service.scheduler.idle();
});

test('a full queue refuses, and a deadline that passes is answered', async (t) => {
  const service = await startService(t, { REQUEST_TIMEOUT_MS: '100' });
  const { scheduler } = service;
  scheduler.capacity = 0;
  assert.equal((await score(service, asForm('a dog'))).code, 'queue_full');
  scheduler.capacity = 1;
  scheduler.hold();
  assert.equal((await score(service, asForm('a dog'))).code, 'deadline_exceeded');
  await scheduler.idle();
});
