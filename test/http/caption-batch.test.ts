import assert from 'node:assert/strict';
import { request } from 'node:http';
import { test } from 'node:test';
import sharp from 'sharp';
import { Compile } from 'typebox/compile';
import { CaptionResultSchema } from '../../src/captioner/results.js';
import { svg } from '../images/drawn.js';
import { formOf, json, type Service, startService } from './service.js';
import { beginUpload, responseTo } from './upload.js';

const resultCheck = Compile(CaptionResultSchema);
const plain = (background: string) =>
  sharp({ create: { width: 40, height: 30, channels: 3, background } })
    .png()
    .toBuffer();
const [red, green, blue] = await Promise.all(['#ff0000', '#00ff00', '#0000ff'].map(plain));
assert.ok(red && green && blue);
const cut = red.subarray(0, 60);

interface Entry {
  readonly index: number;
  readonly outcome: string;
  readonly result?: Record<string, unknown>;
  readonly error?: Record<string, unknown>;
}

function send({ url }: Service, init: RequestInit): Promise<Response> {
  return fetch(`${url}/v1/captions/batch`, { method: 'POST', ...init });
}

const asForm = (images: readonly Buffer[], ...options: [string, string][]): RequestInit => ({
  body: formOf(...options, ...images.map((image) => ['image', image] as const)),
});
const asJson = (body: unknown): RequestInit => ({
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});
const inBase64 = (image: Buffer) => ({ image: image.toString('base64') });

function isEntry(value: unknown): value is Entry {
  return typeof value === 'object' && value !== null && 'index' in value;
}

async function entriesOf(response: Response): Promise<Entry[]> {
  const { results } = await json(response);
  assert.equal(response.status, 200);
  assert.ok(Array.isArray(results));
  return results.map((entry: unknown) => {
    assert.ok(isEntry(entry));
    return entry;
  });
}

/** For each entry the colour of its caption, or the code of its problem. */
function told(entries: readonly Entry[]): string[] {
  return entries.map(({ outcome, result, error }, place) => {
    assert.notEqual(result === undefined, error === undefined, `entry ${place} has either`);
    assert.equal(outcome, error === undefined ? 'captioned' : 'failed');
    if (error !== undefined) return String(error['code']);
    assert.ok(resultCheck.Check(result), JSON.stringify(resultCheck.Errors(result)));
    return /^A (\w+) picture/.exec(String(result.caption))?.[1] ?? 'none';
  });
}

for (const [way, init] of [
  ['a form', asForm([red, green, blue, red])],
  ['JSON', asJson({ images: [red, green, blue, red].map(inBase64) })],
] as const) {
  test(`images of ${way} are answered in the order sent`, async (t) => {
    const service = await startService(t);
    const entries = await entriesOf(await send(service, init));
    assert.deepEqual(
      entries.map(({ index }) => index),
      [0, 1, 2, 3],
    );
    assert.deepEqual(told(entries), ['red', 'green', 'blue', 'red']);
    await service.scheduler.idle();
  });
}

test('one bad image spoils its own entry and no other, with the problem it would have had alone', async (t) => {
  const service = await startService(t);
  const form = await entriesOf(await send(service, asForm([red, cut, svg, Buffer.alloc(0), blue])));
  assert.deepEqual(told(form), [
    'red',
    'image_unreadable',
    'unsupported_image_format',
    'empty_image',
    'blue',
  ]);
  assert.match(String(form[2]?.error?.['detail']), /SVG/);
  const images = [{ image: 'no base64!' }, inBase64(green), { image: 7 }, { url: 'http://127.0.0.1/a.jpg' }];
  const response = await send(service, asJson({ images }));
  const entries = await entriesOf(response);
  assert.deepEqual(told(entries), ['invalid_base64', 'green', 'invalid_base64', 'url_not_allowed']);
  assert.deepEqual(
    { ...entries[0]?.error, detail: '' },
    {
      type: 'urn:problem-type:invalid_base64',
      title: 'The image is not valid base64',
      status: 400,
      detail: '',
      code: 'invalid_base64',
      requestId: response.headers.get('x-request-id'),
    },
  );
  await service.scheduler.idle();
});

test('an error nobody expected is the problem of one image, and is logged', async (t) => {
  const service = await startService(t);
  service.scheduler.failWith(new Error('secret of the model'));
  const codes = told(await entriesOf(await send(service, asForm([red, red]))));
  assert.deepEqual(codes.toSorted(), ['internal', 'red']);
  assert.match(service.log(), /secret of the model/);
});

test('options hold for every image', async (t) => {
  const service = await startService(t);
  await send(service, asForm([red, blue], ['candidates', '2'], ['avoidWords', 'dog']));
  await send(service, asJson({ images: [inBase64(red)], candidates: 2, avoidWords: ['dog'] }));
  assert.equal(service.scheduler.items.length, 3);
  for (const { options } of service.scheduler.captionItems) {
    assert.deepEqual([options.candidates, options.avoidWords], [2, ['dog']]);
  }
});

const refused: [string, RequestInit, number, string][] = [
  ['no image', asForm([]), 400, 'missing_image'],
  ['an empty list', asJson({ images: [] }), 400, 'missing_image'],
  ['no list', asJson({ images: 'abc' }), 400, 'malformed_json'],
  ['an entry that is no object', asJson({ images: ['abc'] }), 400, 'malformed_json'],
  ['an entry without an image', asJson({ images: [{}] }), 400, 'malformed_json'],
  ['an entry that is two', asJson({ images: [{ image: 'a', url: 'b' }] }), 400, 'malformed_json'],
  ['options of one image', asJson({ images: [{ image: 'a', candidates: 1 }] }), 400, 'malformed_json'],
  ['one more image than is taken', asForm([red, red, red, red]), 400, 'too_many_images'],
  ['one more in JSON', asJson({ images: Array(4).fill(inBase64(red)) }), 400, 'too_many_images'],
  ['too many in JSON, whatever they are', asJson({ images: [{}, {}, {}, {}] }), 400, 'too_many_images'],
  ['an unknown option', asForm([red], ['colour', 'red']), 400, 'invalid_option'],
  ['an option out of range', asJson({ images: [inBase64(red)], candidates: 0 }), 400, 'invalid_option'],
  [
    'a body of no particular type',
    { headers: { 'content-type': 'application/octet-stream' }, body: red },
    415,
    'unsupported_media_type',
  ],
  [
    'an image as the body',
    { headers: { 'content-type': 'image/png' }, body: red },
    415,
    'unsupported_media_type',
  ],
];
for (const [what, init, status, code] of refused) {
  test(`${what} is a problem of the whole batch`, async (t) => {
    const service = await startService(t, { MAX_BATCH_IMAGES: '3' });
    const response = await send(service, init);
    assert.deepEqual([response.status, (await json(response))['code']], [status, code]);
    assert.equal(service.scheduler.items.length, 0);
    await service.scheduler.idle();
  });
}

test('a batch without images is told how a batch sends them', async (t) => {
  const { detail } = await json(await send(await startService(t), asJson({ image: inBase64(red).image })));
  assert.match(String(detail), /in JSON as "images"/);
});

for (const [part, image] of [
  ['image', 'name="image"; filename="a.jpg"\r\n\r\nabc'],
  ['url', 'name="url"\r\n\r\nhttp://a.test/\r\n--line\r\n'],
] as const) {
  test(`a form with one ${part} too many is refused before its end has come`, async (t) => {
    const { url, scheduler } = await startService(t, { MAX_BATCH_IMAGES: '1' });
    const upload = beginUpload(`${url}/v1/captions/batch`, 'multipart/form-data; boundary=line', 10_000);
    const first = 'name="url"\r\n\r\nhttp://a.test/';
    upload.write(
      `--line\r\nContent-Disposition: form-data; ${first}\r\n--line\r\nContent-Disposition: form-data; ${image}`,
    );
    assert.deepEqual((await responseTo(upload)).code, 'too_many_images');
    upload.destroy();
    await scheduler.idle();
  });
}

test('no more images are taken than the queue has slots', async (t) => {
  const service = await startService(t, { MAX_QUEUE_IMAGES: '2' });
  const response = await send(service, asForm([red, red, red]));
  assert.equal((await json(response))['detail'], 'This call takes at most 2 images.');
});

test('a batch is admitted with all its images or not at all, and waits behind single ones', async (t) => {
  const service = await startService(t);
  const { scheduler } = service;
  scheduler.capacity = 2;
  const response = await send(service, asForm([red, red, red]));
  assert.deepEqual([response.status, response.headers.get('retry-after')], [503, '7']);
  assert.equal((await json(response))['code'], 'queue_full');
  await scheduler.idle();
  scheduler.capacity = 3;
  assert.deepEqual(told(await entriesOf(await send(service, asForm([red, red, red])))), [
    'red',
    'red',
    'red',
  ]);
  assert.deepEqual(
    scheduler.requests.map(({ priority }) => priority),
    ['batch', 'batch', 'batch'],
  );
});

test('a full queue refuses a batch by its headers', async (t) => {
  const { url, scheduler } = await startService(t);
  scheduler.capacity = 0;
  const upload = beginUpload(`${url}/v1/captions/batch`, 'multipart/form-data; boundary=line', 1000);
  const { status, code } = await responseTo(upload);
  assert.deepEqual([status, code], [503, 'queue_full']);
  upload.destroy();
});

test('a queue with too few slots refuses a batch at the image that has none, before the rest has come', async (t) => {
  const { url, scheduler } = await startService(t);
  scheduler.capacity = 1;
  const upload = beginUpload(`${url}/v1/captions/batch`, 'multipart/form-data; boundary=line', 10_000);
  const image = 'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\nabc';
  upload.write(`--line\r\n${image}\r\n--line\r\n${image}`);
  const { status, code } = await responseTo(upload);
  assert.deepEqual([status, code], [503, 'queue_full']);
  upload.destroy();
  await scheduler.idle();
});

test('at the deadline what is done is answered, and the rest of the batch is late image by image', async (t) => {
  const service = await startService(t, { REQUEST_TIMEOUT_MS: '400' });
  const { scheduler } = service;
  scheduler.holdFrom(1);
  const entries = await entriesOf(await send(service, asForm([red, green, cut])));
  const codes = told(entries);
  assert.equal(codes[2], 'image_unreadable');
  assert.match(codes.join(), /^(red,deadline_exceeded|deadline_exceeded,green),/);
  await scheduler.idle();
  assert.doesNotMatch(service.log(), /"level":50/);
});

test('a batch whose body takes too long is late as a whole', async (t) => {
  const { url, scheduler } = await startService(t, { REQUEST_TIMEOUT_MS: '150' });
  const upload = beginUpload(`${url}/v1/captions/batch`, 'multipart/form-data; boundary=line', 1000);
  const { status, code } = await responseTo(upload);
  assert.deepEqual([status, code], [504, 'deadline_exceeded']);
  await scheduler.idle();
  upload.destroy();
});

test('as NDJSON, each entry comes as soon as it is done', async (t) => {
  const service = await startService(t);
  const { scheduler } = service;
  const letGo = scheduler.holdFrom(2);
  const init = asForm([red, green, cut, blue]);
  const response = await send(service, { ...init, headers: { accept: 'application/x-ndjson' } });
  assert.deepEqual([response.status, response.headers.get('content-type')], [200, 'application/x-ndjson']);
  assert.equal(response.headers.get('x-accel-buffering'), 'no');
  assert.ok(response.body !== null);
  const entries: Entry[] = [];
  let text = '';
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) {
      const entry: unknown = JSON.parse(line);
      assert.ok(isEntry(entry));
      entries.push(entry);
    }
    // Three of the four are here while the fourth is still held back.
    if (entries.length === 3 && scheduler.slotsUsed > 0) letGo();
  }
  assert.equal(text, '');
  const ordered = entries.toSorted((a, b) => a.index - b.index);
  assert.deepEqual(told(ordered), ['red', 'green', 'image_unreadable', 'blue']);
  await scheduler.idle();
});

test('NDJSON is sent to those who prefer it, and problems of the whole batch are documents still', async (t) => {
  const service = await startService(t);
  const typeFor = async (accept: string, images = [red]) => {
    const response = await send(service, { ...asForm(images), headers: { accept } });
    await response.body?.cancel();
    return response.headers.get('content-type')?.split(';')[0];
  };
  assert.equal(await typeFor('application/x-ndjson, application/json;q=0.5'), 'application/x-ndjson');
  for (const accept of ['*/*', 'application/json, application/x-ndjson;q=0.5', 'text/html']) {
    assert.equal(await typeFor(accept), 'application/json', accept);
  }
  assert.equal(await typeFor('application/x-ndjson', []), 'application/problem+json');
});

for (const [accept, done] of [
  ['application/json', 0],
  ['application/x-ndjson', 0],
  ['application/x-ndjson', 1],
] as const) {
  test(`a client that leaves frees all slots of its batch (${accept}, ${done} done)`, async (t) => {
    const service = await startService(t);
    const { scheduler } = service;
    scheduler.holdFrom(done);
    const form = new Response(formOf(['image', red], ['image', green], ['image', blue]));
    const client = request(`${service.url}/v1/captions/batch`, {
      method: 'POST',
      headers: { accept, 'content-type': form.headers.get('content-type') ?? '' },
    });
    client.on('error', () => undefined);
    client.end(Buffer.from(await form.arrayBuffer()));
    await scheduler.submitted(3);
    await scheduler.waiting(3 - done);
    await scheduler.using(3 - done);
    client.destroy();
    await scheduler.idle();
    await service.app.close();
    assert.doesNotMatch(service.log(), /"level":50|unexpected/);
  });
}
