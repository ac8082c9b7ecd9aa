import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quarters } from '../images/drawn.js';
import { json, type Service, startService } from './service.js';

const photo = (await quarters(60, 40).png().toBuffer()).toString('base64');

async function embed({ url }: Service, body: unknown): Promise<Record<string, unknown> & { status: number }> {
  const response = await fetch(`${url}/v1/embeddings`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { ...(await json(response)), status: response.status };
}

/** The vectors of an answer, whose model has two dimensions: red and green. */
function vectorsOf({ data }: Readonly<Record<string, unknown>>): unknown[] {
  assert.ok(Array.isArray(data));
  return data.map((each: unknown, index) => {
    assert.ok(typeof each === 'object' && each !== null && 'embedding' in each && 'index' in each);
    assert.equal(each.index, index);
    return each.embedding;
  });
}

test('texts and images are embedded in the order sent', async (t) => {
  const service = await startService(t);
  const answer = await embed(service, {
    model: 'example',
    input: ['green', { image: photo }, { text: 'red' }, `data:image/png;base64,${photo}`],
  });
  assert.equal(answer.status, 200);
  assert.deepEqual(vectorsOf(answer), [
    [0, 1],
    [1, 0],
    [1, 0],
    [1, 0],
  ]);
  assert.equal(answer['object'], 'list');
  await service.scheduler.idle();
});

test('one text is an input by itself, and base64 is little-endian float32', async (t) => {
  const service = await startService(t);
  const answer = await embed(service, {
    input: 'red',
    encoding_format: 'base64',
    user: 'somebody',
    dimensions: null,
  });
  const [text] = vectorsOf(answer);
  assert.equal(text, Buffer.from(Float32Array.of(1, 0).buffer).toString('base64'));
});

test('a thousand texts are several runs, so that single images do not wait for all of them', async (t) => {
  const service = await startService(t);
  const input = Array.from({ length: 1000 }, (_, index) => (index % 2 === 0 ? 'red' : 'green'));
  const vectors = vectorsOf(await embed(service, { input }));
  assert.deepEqual(
    vectors,
    input.map((text) => (text === 'red' ? [1, 0] : [0, 1])),
  );
  assert.equal(service.scheduler.items.length, 16);
  assert.ok(service.scheduler.requests.every(({ priority }) => priority === 'batch'));
});

test('a tag of the model’s name is left aside, and null is what is left out', async (t) => {
  const service = await startService(t);
  const answer = await embed(service, { input: 'red', model: 'example:latest', encoding_format: null });
  assert.deepEqual([answer.status, vectorsOf(answer)], [200, [[1, 0]]]);
});

test('a queue of one slot is enough for any number of texts beside an image', async (t) => {
  const service = await startService(t);
  service.scheduler.capacity = 1;
  const input = [{ image: photo }, ...Array.from({ length: 100 }, () => ({ text: 'green' }))];
  assert.equal((await embed(service, { input })).status, 200);
});

test('what cannot be embedded is refused, in the words that clients of OpenAI read too', async (t) => {
  const service = await startService(t);
  const refused: [object, number, string][] = [
    [{}, 400, 'invalid_option'],
    [{ input: [] }, 400, 'invalid_option'],
    [{ input: '' }, 400, 'invalid_option'],
    [{ input: 'red', model: null }, 400, 'invalid_option'],
    [{ input: 'red', model: {} }, 400, 'invalid_option'],
    [{ input: [[1, 2]] }, 400, 'invalid_option'],
    [{ input: [{ text: 'red', lang: 'en' }] }, 400, 'invalid_option'],
    [{ input: Array.from({ length: 1025 }, () => 'red') }, 400, 'invalid_option'],
    [{ input: 'red', dimensions: 1 }, 400, 'invalid_option'],
    [{ input: 'red', encoding_format: 'int8' }, 400, 'invalid_option'],
    [{ input: [{ image: '*' }] }, 400, 'invalid_base64'],
    [{ input: 'red', model: 'text-embedding-3-small' }, 404, 'not_found'],
    [{ input: Array.from({ length: 17 }, () => ({ image: photo })) }, 400, 'too_many_images'],
  ];
  for (const [body, status, code] of refused) {
    const answer = await embed(service, body);
    assert.equal(answer.status, status, JSON.stringify(answer));
    assert.equal(answer['code'], code);
    const { error } = answer;
    assert.ok(typeof error === 'object' && error !== null && 'message' in error);
    assert.equal(error.message, answer['detail']);
  }
});
