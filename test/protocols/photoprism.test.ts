import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startService } from '../http/service.js';
import { ask, at, caption, image, replay } from './replay.js';

const body = {
  id: 'a1',
  version: 'latest',
  prompt: 'Describe',
  suffix: '',
  stream: false,
  images: [image.dataUrl],
};

replay('PhotoPrism', [
  {
    of: 'it reads a caption with its confidence',
    call: '/api/v1/vision/caption',
    body: { ...body, model: 'example' },
    reads: ({ body: answer }) => {
      assert.equal(answer['id'], 'a1');
      assert.equal(answer['code'], 200);
      assert.deepEqual(answer['model'], { name: 'example', version: '1.0.0' });
      assert.deepEqual(at(answer, 'result', 'caption'), { text: caption, source: 'image', confidence: 0.75 });
    },
  },
  {
    of: 'it reads labels',
    call: '/api/v1/vision/labels',
    body,
    reads: ({ body: answer }) => {
      assert.deepEqual(at(answer, 'result', 'labels', 0), {
        name: 'red',
        source: 'image',
        priority: 0,
        confidence: 0.9,
        topicality: 0.9,
        categories: [],
      });
    },
  },
  {
    of: 'an error has an integer as its code',
    call: '/api/v1/vision/caption',
    body: { ...body, images: [], url: 'https://example.org/a.jpg' },
    reads: ({ status, body: answer }) => {
      assert.equal(status, 400);
      assert.equal(answer['code'], 400);
      assert.equal(typeof answer['error'], 'string');
    },
  },
]);

test('PhotoPrism: no caption is an error of code 422, and a full queue one that it retries', async (t) => {
  const service = await startService(t, { PROTOCOL_MIN_CONFIDENCE: '0.8' });
  const refused = await ask(service, '/api/v1/vision/caption', body);
  assert.equal(refused.status, 422);
  assert.equal(refused.body['code'], 422);
  service.scheduler.capacity = 0;
  const full = await ask(service, '/api/v1/vision/caption', body);
  assert.equal(full.status, 429);
  assert.equal(full.body['code'], 429);
  assert.equal(full.headers.get('retry-after'), '7');
});
