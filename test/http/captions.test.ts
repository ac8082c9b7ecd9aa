import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Compile } from 'typebox/compile';
import { CaptionResultSchema } from '../../src/captioner/results.js';
import { quarters } from '../images/drawn.js';
import { formOf, json, type Service, startService } from './service.js';

const photo = await quarters(300, 200).png().toBuffer();
const resultCheck = Compile(CaptionResultSchema);

async function caption(
  { url }: Service,
  init: RequestInit,
  query = '',
): Promise<Record<string, unknown> & { status: number }> {
  const response = await fetch(`${url}/v1/captions${query}`, { method: 'POST', ...init });
  return { ...(await json(response)), status: response.status };
}

const asForm = (...options: [string, string][]): RequestInit => ({
  body: formOf(...options, ['image', photo]),
});
const asBody = (type = 'image/png'): RequestInit => ({ headers: { 'content-type': type }, body: photo });
const asJson = (members: object = {}): RequestInit => ({
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ image: photo.toString('base64'), ...members }),
});
/** As the Java client of openapi-generator sends options: each in JSON, and a list once for each of its items. */
function asFormOfJson(members: object): RequestInit {
  const part = (header: string, body: string | Buffer) => [
    Buffer.from(`--line\r\nContent-Disposition: form-data; ${header}\r\n\r\n`),
    Buffer.from(body),
    Buffer.from('\r\n'),
  ];
  const fields = Object.entries(members).flatMap(([name, value]: [string, unknown]) =>
    (Array.isArray(value) ? value : [value]).flatMap(() =>
      part(`name="${name}"\r\nContent-Type: application/json; charset=utf-8`, JSON.stringify(value)),
    ),
  );
  const body = Buffer.concat([...fields, ...part('name="image"', photo), Buffer.from('--line--\r\n')]);
  return { headers: { 'content-type': 'multipart/form-data; boundary=line' }, body };
}

test('a form, a raw body and JSON get the same result, which has the shape of the reference', async (t) => {
  const service = await startService(t);
  const results = [
    await caption(service, asForm(['candidates', '2'])),
    await caption(service, asBody(), '?candidates=2'),
    await caption(service, asJson({ candidates: 2 })),
  ];
  for (const { status, timing, ...result } of results) {
    assert.equal(status, 200);
    assert.ok(
      resultCheck.Check({ ...result, timing }),
      JSON.stringify(resultCheck.Errors({ ...result, timing })),
    );
    assert.deepEqual(result, {
      caption: 'A red picture, best of all',
      confidence: 0.75,
      clipScore: 0.8,
      logProb: -6.123457,
      meanLogProb: -0.75,
      captions: [
        {
          text: 'A red picture, best of all',
          confidence: 0.75,
          clipScore: 0.8,
          logProb: -6.123457,
          meanLogProb: -0.75,
        },
        {
          text: 'A red picture, second of all',
          confidence: 0.7,
          clipScore: 0.8,
          logProb: -6.123457,
          meanLogProb: -0.75,
        },
      ],
      concepts: [{ word: 'dog', share: 0.9, score: 0.9 }],
      tags: [
        { word: 'red', probability: 0.9 },
        { word: 'picture', probability: 0.6 },
      ],
      image: { width: 300, height: 200, format: 'png' },
      model: { id: 'example', version: '1.0.0' },
    });
  }
});

test('the path of JSON gives the same result', async (t) => {
  const { url } = await startService(t);
  const answers = ['captions', 'captions/json'].map(async (path) => {
    const { timing, ...result } = await json(
      await fetch(`${url}/v1/${path}`, { method: 'POST', ...asJson({ candidates: 2 }) }),
    );
    assert.ok(timing);
    return result;
  });
  const [known, own] = await Promise.all(answers);
  assert.deepEqual(own, known);
  assert.equal(own?.['caption'], 'A red picture, best of all');
});

test('the timing adds up, stage by stage', async (t) => {
  const { timing } = await caption(await startService(t), asForm());
  assert.ok(typeof timing === 'object' && timing !== null);
  const { decodeMs, totalMs, ...stages } = Object.fromEntries<unknown>(Object.entries(timing));
  assert.deepEqual(stages, {
    queueMs: 1.25,
    encodeMs: 2,
    mixupMs: 1,
    captionMs: 3,
    scoreMs: 0.5,
    cached: false,
  });
  assert.ok(
    typeof decodeMs === 'number' && typeof totalMs === 'number' && 0 < decodeMs && decodeMs <= totalMs,
  );
});

test('the bytes decide about the format, not the type they are sent with', async (t) => {
  const { image } = await caption(await startService(t), asBody('image/jpeg'));
  assert.deepEqual(image, { width: 300, height: 200, format: 'png' });
});

test('a form part without a file name is the image too', async (t) => {
  const service = await startService(t);
  const body = Buffer.concat([
    Buffer.from('--line\r\nContent-Disposition: form-data; name="image"\r\nContent-Type: image/png\r\n\r\n'),
    photo,
    Buffer.from('\r\n--line--\r\n'),
  ]);
  const headers = { 'content-type': 'multipart/form-data; boundary=line' };
  assert.equal((await caption(service, { headers, body })).status, 200);
});

test('base64 of either alphabet is taken, with padding or without', async (t) => {
  const service = await startService(t);
  const padded = photo.toString('base64');
  for (const image of [padded, padded.replace(/=+$/, ''), photo.toString('base64url')]) {
    assert.equal((await caption(service, asJson({ image }))).status, 200);
  }
});

test('base64 may have a data: prefix, as pages have it, and line breaks, as mail has them', async (t) => {
  const service = await startService(t);
  const digits = photo.toString('base64');
  const lines = (end: string) => digits.replace(/.{76}/g, `$&${end}`);
  for (const image of [
    `data:image/png;base64,${digits}`,
    `DATA:image/png;name=a.png;Base64,${digits}`,
    lines('\n'),
    lines('\r\n'),
    `data:;base64,\r\n${lines('\r\n')}\r\n`,
  ]) {
    assert.equal((await caption(service, asJson({ image }))).status, 200, image.slice(0, 40));
  }
  for (const image of [`data:image/png,${digits}`, `data:image/png;base64${digits}`, lines(' ')]) {
    assert.equal((await caption(service, asJson({ image })))['code'], 'invalid_base64', image.slice(0, 40));
  }
});

test('a body of no particular type is an image', async (t) => {
  const service = await startService(t);
  const { status, image } = await caption(service, asBody('application/octet-stream'), '?candidates=2');
  assert.deepEqual([status, image], [200, { width: 300, height: 200, format: 'png' }]);
  assert.equal(service.scheduler.captionItems[0]?.options.candidates, 2);
});

test('pixels reach the model at the size of its bundle', async (t) => {
  const service = await startService(t);
  await caption(service, asForm());
  assert.equal(service.scheduler.captionItems[0]?.pixels.length, 16 * 16 * 3);
});

test('options not given have the defaults of the reference', async (t) => {
  const service = await startService(t);
  await caption(service, asForm());
  assert.deepEqual(service.scheduler.captionItems[0]?.options, {
    candidates: 3,
    beamSize: 3,
    maxLength: 20,
    concepts: [],
    conceptsMode: 'replace',
    avoidWords: [],
    genderNeutral: false,
    minTagProbability: 0.5,
    maxTags: 20,
    explain: false,
  });
});

test('options given reach the model, whichever way they come', async (t) => {
  const service = await startService(t);
  const query =
    '?candidates=5&beamSize=7&maxLength=9&concepts=dog&concepts=ice%20cream&conceptsMode=extend&avoidWords=man&avoidWords=t-shirt&genderNeutral=true&minTagProbability=0.75&maxTags=5&explain=true';
  const form: [string, string][] = [...new URLSearchParams(query)];
  const members = {
    candidates: 5,
    beamSize: 7,
    maxLength: 9,
    concepts: ['dog', 'ice cream'],
    conceptsMode: 'extend',
    avoidWords: ['man', 't-shirt'],
    genderNeutral: true,
    minTagProbability: 0.75,
    maxTags: 5,
    explain: true,
  };
  await caption(service, asBody(), query);
  await caption(service, asForm(...form));
  await caption(
    service,
    asForm(...form.map(([name, value]): [string, string] => [name, value.replace('true', 'True')])),
  );
  await caption(service, asJson(members));
  await caption(service, asFormOfJson(members));
  assert.equal(service.scheduler.items.length, 5);
  for (const { options } of service.scheduler.captionItems) assert.deepEqual(options, members);
});

test('the beam grows with the candidates asked for', async (t) => {
  const service = await startService(t);
  await caption(service, asForm(['candidates', '6']));
  await caption(service, asForm(['candidates', '1']));
  assert.deepEqual(
    service.scheduler.captionItems.map(({ options }) => options.beamSize),
    [6, 3],
  );
});

test('the same value twice for one option is one value', async (t) => {
  const service = await startService(t);
  const { status } = await caption(
    service,
    asForm(['candidates', '2'], ['candidates', '2']),
    '?candidates=2',
  );
  assert.equal(status, 200);
  assert.equal(service.scheduler.captionItems[0]?.options.candidates, 2);
});

test('a form field in JSON is a value or a list of values, and the same in each place', async (t) => {
  const service = await startService(t);
  for (const members of [
    { concepts: [['dog']] },
    { candidates: { value: 2 } },
    { candidates: 'two' },
    { avoidWords: 'a'.repeat(70_000) },
  ]) {
    const { status, code } = await caption(service, asFormOfJson(members));
    assert.deepEqual([status, code], [400, 'invalid_option'], JSON.stringify(members).slice(0, 100));
  }
  const { detail } = await caption(service, asFormOfJson({ candidates: 2 }), '?candidates=3');
  assert.equal(detail, 'candidates is given with two different values.');
  assert.equal(service.scheduler.items.length, 0);
});

test('below minConfidence the caption is null, and everything else stays', async (t) => {
  const service = await startService(t);
  const [met, missed] = [
    await caption(service, asForm(['minConfidence', '0.75'])),
    await caption(service, asForm(['minConfidence', '0.76'])),
  ];
  assert.equal(met['caption'], 'A red picture, best of all');
  assert.deepEqual({ ...missed, timing: null }, { ...met, caption: null, timing: null });
});

test('a number may come in exponent notation, as programs write small ones', async (t) => {
  const service = await startService(t);
  assert.equal((await caption(service, asForm(['minConfidence', String(1e-7)]))).status, 200);
  assert.equal((await caption(service, asForm(), '?minConfidence=1E-7&candidates=1e1')).status, 200);
  assert.equal(service.scheduler.captionItems[1]?.options.candidates, 10);
  for (const text of ['1e', 'e1', '0x1', ' 1', '1_0', 'NaN', '1e400'])
    assert.equal((await caption(service, asForm(['minConfidence', text])))['code'], 'invalid_option');
});

test('with explain, patches of each concept and their grid are returned', async (t) => {
  const result = await caption(await startService(t), asForm(['explain', 'true']));
  assert.deepEqual(result['concepts'], [
    { word: 'dog', share: 0.9, score: 0.9, patches: [0.1, 0.2, 0.3, 0.4] },
  ]);
  assert.deepEqual(result['gridSize'], { rows: 2, columns: 2 });
});

test('the request’s own id comes back when it is a plain one, else a new one', async (t) => {
  const { url } = await startService(t);
  const idFor = async (id: string) =>
    (await fetch(`${url}/healthz`, { headers: { 'x-request-id': id } })).headers.get('x-request-id');
  assert.equal(await idFor('photo-17_b'), 'photo-17_b');
  for (const id of ['a b', 'x'.repeat(65), 'a;b', '']) {
    assert.match((await idFor(id)) ?? '', /^[0-9a-f-]{36}$/);
  }
});

test('the log has a line for each request under its id, and never an image, an option’s words or a caption', async (t) => {
  const service = await startService(t);
  const headers = { 'x-request-id': 'seen-in-log', 'content-type': 'application/json' };
  const { body } = asJson({ concepts: ['secretword'] });
  await caption(service, { headers, body: body ?? null }, '?avoidWords=hiddenword');
  await service.app.close();
  const answered =
    service
      .log()
      .split('\n')
      .find((line) => line.includes('"answered"')) ?? '';
  assert.match(answered, /"reqId":"seen-in-log"/);
  assert.match(answered, /"route":"\/v1\/captions","ms":[\d.]+,"status":200/);
  assert.doesNotMatch(service.log(), /secretword|hiddenword|picture/);
  assert.ok(!service.log().includes(photo.toString('base64').slice(0, 20)));
});

test('an error nobody expected is a 500 that says nothing of it, and is logged with its stack', async (t) => {
  const service = await startService(t);
  service.scheduler.failWith(new Error('secret of the model'));
  const { status, code, detail } = await caption(service, asForm());
  assert.deepEqual([status, code], [500, 'internal']);
  assert.doesNotMatch(String(detail), /secret/);
  assert.match(service.log(), /secret of the model.*captions\.test/);
  assert.equal((await caption(service, asForm())).status, 200);
});
