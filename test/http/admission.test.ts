import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ServiceError } from '../../src/errors.js';
import { quarters } from '../images/drawn.js';
import { formOf, json, startService } from './service.js';
import { beginUpload, responseTo } from './upload.js';

const photo = await quarters().jpeg().toBuffer();
const post = (url: string, init: RequestInit = { body: formOf(['image', photo]) }) =>
  fetch(`${url}/v1/captions`, { method: 'POST', ...init });

test('a full queue answers 503 with Retry-After before any byte of the body has come', async (t) => {
  const { url, scheduler } = await startService(t);
  scheduler.capacity = 0;
  const upload = beginUpload(`${url}/v1/captions`, 'image/jpeg', photo.length);
  const { status, headers, code } = await responseTo(upload);
  assert.deepEqual([status, code, headers['retry-after']], [503, 'queue_full', '7']);
  upload.destroy();
});

test('a scheduler that is not ready refuses, and says when to come again', async (t) => {
  const { url, scheduler } = await startService(t);
  scheduler.readiness = { ready: false, reason: 'the worker is being restarted' };
  const response = await post(url);
  assert.deepEqual([response.status, response.headers.get('retry-after')], [503, '1']);
  assert.equal((await json(response))['code'], 'not_ready');
});

test('clients that send megabytes before they listen still get to read an early answer', async (t) => {
  const { url, scheduler } = await startService(t, { MAX_BODY_BYTES: String(8 * 1024 * 1024) });
  const large = Buffer.alloc(6 * 1024 * 1024);
  const tooLarge = Buffer.alloc(12 * 1024 * 1024);
  scheduler.capacity = 0;
  for (let round = 0; round < 5; round++) {
    assert.equal((await post(url, { body: formOf(['image', large]) })).status, 503);
    assert.equal((await post(url, { body: formOf(['image', tooLarge]) })).status, 413);
  }
  const curl = promisify(execFile)('curl', [
    ...['--silent', '--max-time', '20', '--write-out', ' %{http_code}', '--form', 'image=@-;filename=a.jpg'],
    `${url}/v1/captions`,
  ]);
  assert.ok(curl.child.stdin !== null);
  curl.child.stdin.end(tooLarge);
  assert.match((await curl).stdout, /"code":"body_too_large".* 413$/);
});

test('a body that goes on and on after its refusal is cut off', async (t) => {
  const { url } = await startService(t, { MAX_BODY_BYTES: '2048' });
  const upload = beginUpload(`${url}/v1/captions`, 'image/jpeg', 100_000_000);
  assert.equal((await responseTo(upload)).code, 'body_too_large');
  const closed = new Promise((resolve) => upload.once('close', resolve));
  const chunk = Buffer.alloc(1_000_000);
  let sent = 0;
  while (!upload.destroyed && upload.writable) {
    await Promise.race([closed, new Promise((resolve) => upload.write(chunk, resolve))]);
    sent += chunk.length;
  }
  await closed;
  assert.ok(sent < 50_000_000, `${sent} bytes were taken`);
});

test('what has come of an evicted body is let go, and the rest of it not kept', async (t) => {
  const { app, url, scheduler } = await startService(t, { UPLOAD_GRACE_MS: '0' });
  scheduler.capacity = 1;
  const arrived = once(app.server, 'request');
  const upload = beginUpload(`${url}/v1/captions`, 'image/jpeg', photo.length);
  const evicted = responseTo(upload);
  upload.write(photo.subarray(0, 100));
  const body: unknown = (await arrived)[0];
  assert.ok(body instanceof IncomingMessage);
  await scheduler.admitted(1);
  assert.equal((await post(url)).status, 200);
  assert.equal((await evicted).status, 503);
  assert.equal(body.listenerCount('data'), 1, 'what gathered it listens no more');
  upload.destroy();
});

test('each request holds one slot until it is answered', async (t) => {
  const { url, scheduler } = await startService(t);
  const letGo = scheduler.hold();
  const answers = [post(url), post(url)];
  await scheduler.waiting(2);
  assert.equal(scheduler.slotsUsed, 2);
  letGo();
  assert.deepEqual(
    (await Promise.all(answers)).map(({ status }) => status),
    [200, 200],
  );
  await scheduler.idle();
});

test('an upload that lasts while the bundle is exchanged is made for, and answered by, the one before', async (t) => {
  const { url, scheduler } = await startService(t);
  const upload = beginUpload(`${url}/v1/captions`, 'image/jpeg', photo.length);
  await scheduler.admitted(1);
  scheduler.swap({ id: 'next', image: { width: 8, height: 8, resize: 'stretch', kernel: 'cubic' } });
  upload.end(photo);
  const response = await new Promise<IncomingMessage>((resolve) => upload.once('response', resolve));
  assert.match(await text(response), /"model":\{"id":"example"/);
  assert.equal(scheduler.captionItems[0]?.pixels.length, 16 * 16 * 3);

  assert.match(await (await post(url)).text(), /"model":\{"id":"next"/);
  assert.equal(scheduler.captionItems[1]?.pixels.length, 8 * 8 * 3);
  for (const path of ['models', 'concepts']) {
    assert.match(await (await fetch(`${url}/v1/${path}`)).text(), /"id":"next"/);
  }
});

test('when the queue is full, the longest upload is evicted for a request that comes', async (t) => {
  const { url, scheduler } = await startService(t, { UPLOAD_GRACE_MS: '0' });
  scheduler.capacity = 2;
  const [first, second] = [1, 2].map(() => beginUpload(`${url}/v1/captions`, 'image/jpeg', photo.length));
  assert.ok(first !== undefined && second !== undefined);
  first.write(photo.subarray(0, 100));
  await scheduler.admitted(1);
  second.write(photo.subarray(0, 100));
  await scheduler.admitted(2);
  const evicted = responseTo(first);
  assert.equal((await post(url)).status, 200);
  const { status, code, headers } = await evicted;
  assert.deepEqual([status, code, headers['retry-after']], [503, 'queue_full', '7']);
  const answer = new Promise<IncomingMessage>((resolve) => second.once('response', resolve));
  second.end(photo.subarray(100));
  assert.equal((await answer).statusCode, 200);
  await scheduler.idle();
  assert.equal(scheduler.items.length, 2);
  first.destroy();
});

test('an upload keeps its slot for a while, and an image that has come until it is answered', async (t) => {
  const patient = await startService(t, { UPLOAD_GRACE_MS: '3600000' });
  patient.scheduler.capacity = 1;
  const upload = beginUpload(`${patient.url}/v1/captions`, 'image/jpeg', photo.length);
  await patient.scheduler.admitted(1);
  assert.equal((await post(patient.url)).status, 503);
  upload.destroy();

  const { url, scheduler } = await startService(t, { UPLOAD_GRACE_MS: '0' });
  scheduler.capacity = 1;
  const letGo = scheduler.hold();
  const waits = post(url);
  await scheduler.waiting(1);
  assert.equal((await post(url)).status, 503);
  letGo();
  assert.equal((await waits).status, 200);
});

/** A body of a million bytes of which some have been sent, and what it is answered. */
async function sendSome(url: string, bytes: number) {
  const upload = beginUpload(`${url}/v1/captions`, 'image/jpeg', 1_000_000);
  const answer = responseTo(upload);
  await new Promise((resolve) => upload.write(Buffer.alloc(bytes), resolve));
  return { upload, answer };
}

test('of bodies that together are more than is held at once, the largest that is still coming is evicted', async (t) => {
  const { url, scheduler } = await startService(t, {
    MAX_BODY_BYTES: '1000000',
    MAX_UPLOAD_BYTES: '2500000',
    UPLOAD_GRACE_MS: '3600000',
  });
  const first = await sendSome(url, 800_000);
  const largest = await sendSome(url, 990_000);
  const last = await sendSome(url, 950_000);
  const { status, code, headers } = await largest.answer;
  assert.deepEqual([status, code, headers['retry-after']], [503, 'queue_full', '1']);
  assert.equal(scheduler.slotsUsed, 2);
  assert.equal((await post(url)).status, 200);
  for (const { upload } of [first, largest, last]) upload.destroy();
  await scheduler.idle();
});

test('bodies that have come keep their slot while they wait, and nothing more is admitted beside them', async (t) => {
  const { url, scheduler } = await startService(t, {
    MAX_BODY_BYTES: '1000000',
    MAX_UPLOAD_BYTES: '1500000',
  });
  const large = {
    body: Buffer.concat([photo, Buffer.alloc(1_000_000 - photo.length)]),
    headers: { 'content-type': 'image/jpeg' },
  };
  const letGo = scheduler.hold();
  const first = post(url, large);
  await scheduler.waiting(1);
  const second = post(url, large);
  await scheduler.waiting(2);
  const refused = await post(url);
  assert.deepEqual([refused.status, (await json(refused))['code']], [503, 'queue_full']);
  letGo();
  for (const answer of [first, second]) assert.equal((await answer).status, 200);
  await scheduler.idle();
  assert.equal((await post(url, large)).status, 200);
});

test('one body of the largest size is held in any case', async (t) => {
  const { url, scheduler } = await startService(t, { MAX_BODY_BYTES: '1000000', MAX_UPLOAD_BYTES: '1024' });
  const letGo = scheduler.hold();
  const body = Buffer.concat([photo, Buffer.alloc(1_000_000 - photo.length)]);
  const large = post(url, { body, headers: { 'content-type': 'image/jpeg' } });
  await scheduler.waiting(1);
  const small = post(url);
  await scheduler.waiting(2);
  letGo();
  assert.deepEqual([(await large).status, (await small).status], [200, 200]);
});

test('a refused image frees its slot', async (t) => {
  const { url, scheduler } = await startService(t);
  assert.equal((await post(url, { body: formOf(['image', Buffer.from('text')]) })).status, 415);
  await scheduler.idle();
});

test('a client that leaves while its image waits frees its slot', async (t) => {
  const { url, scheduler, log } = await startService(t);
  scheduler.hold();
  const client = new AbortController();
  const answer = post(url, { body: formOf(['image', photo]), signal: client.signal });
  await scheduler.waiting(1);
  const [running] = scheduler.requests;
  assert.ok(running !== undefined && !running.signal.aborted);
  client.abort();
  await assert.rejects(answer, { name: 'AbortError' });
  await scheduler.idle();
  assert.ok(running.signal.aborted);
  assert.match(log(), /"client has gone"/);
  assert.doesNotMatch(log(), /"level":50/);
});

test('images that wait are given up when another one of their request has failed', async (t) => {
  const { url, scheduler } = await startService(t);
  const other = await quarters(50, 40).png().toBuffer();
  scheduler.hold();
  const answer = fetch(`${url}/api/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ images: [photo.toString('base64'), other.toString('base64')] }),
  });
  await scheduler.waiting(2);
  scheduler.failWith(new ServiceError('image_crashes_model', 'The model crashes on this image.'));
  scheduler.holdFrom(1);
  assert.equal((await answer).ok, false);
  await scheduler.waiting(0);
  await scheduler.idle();
  assert.deepEqual(
    scheduler.requests.map(({ signal }) => signal.aborted),
    [true, true],
  );
});

test('a client that leaves in the middle of its upload frees its slot', async (t) => {
  const { url, scheduler } = await startService(t);
  const upload = beginUpload(`${url}/v1/captions`, 'image/jpeg', photo.length);
  upload.write(photo.subarray(0, 100));
  await scheduler.admitted(1);
  upload.destroy();
  await scheduler.idle();
  assert.equal(scheduler.items.length, 0);
});

test('an answer that is not ready in time is 504, and the slot is free', async (t) => {
  const { url, scheduler, log } = await startService(t, { REQUEST_TIMEOUT_MS: '100' });
  scheduler.hold();
  const response = await post(url);
  assert.deepEqual([response.status, (await json(response))['code']], [504, 'deadline_exceeded']);
  await scheduler.idle();
  assert.doesNotMatch(log(), /"level":50|already sent/);
});

for (const [kind, type] of [
  ['raw', 'image/jpeg'],
  ['form', 'multipart/form-data; boundary=line'],
] as const) {
  test(`an upload (${kind}) that takes too long is 504, and holds no slot after it`, async (t) => {
    const { url, scheduler } = await startService(t, { REQUEST_TIMEOUT_MS: '150' });
    const upload = beginUpload(`${url}/v1/captions`, type, 10_000);
    upload.write('--line\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\nabc');
    const { status, code } = await responseTo(upload);
    assert.deepEqual([status, code], [504, 'deadline_exceeded']);
    await scheduler.idle();
    upload.destroy();
  });
}

test('closing answers what has begun, and takes nothing more', async (t) => {
  const { app, url, scheduler } = await startService(t);
  const letGo = scheduler.hold();
  const answers = [post(url), post(url)];
  await scheduler.waiting(2);
  const closed = app.close();
  await assert.rejects(post(url), 'a new connection is refused');
  letGo();
  for (const response of await Promise.all(answers)) {
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('connection'), 'close');
    assert.match(String((await json(response))['caption']), /picture/);
  }
  await closed;
});
