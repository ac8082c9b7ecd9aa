import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startService } from '../http/service.js';
import { ask, at, caption, image, replay } from './replay.js';

const analyze = (query: string) => `/computervision/imageanalysis:analyze?api-version=2024-02-01&${query}`;
const asOctets = { headers: { 'content-type': 'application/octet-stream' }, body: image.file };

replay('Azure 4.0', [
  {
    of: 'its SDKs read a caption and tags',
    call: analyze('features=caption,tags&language=en&gender-neutral-caption=false'),
    init: asOctets,
    reads: ({ body }) => {
      assert.deepEqual(body['captionResult'], { text: caption, confidence: 0.75 });
      assert.deepEqual(at(body, 'tagsResult', 'values', 0), { name: 'red', confidence: 0.9 });
      assert.deepEqual(body['metadata'], { width: 64, height: 48 });
      assert.equal(typeof body['modelVersion'], 'string');
    },
  },
  {
    of: 'its SDKs read dense captions, the whole image first',
    call: analyze('features=denseCaptions'),
    init: asOctets,
    reads: ({ body }) => {
      const values = at(body, 'denseCaptionsResult', 'values');
      assert.deepEqual(at(values, 0), {
        text: caption,
        confidence: 0.75,
        boundingBox: { x: 0, y: 0, w: 64, h: 48 },
      });
      // The model of these tests finds its concept in the last of four patches.
      assert.deepEqual(at(values, 1, 'boundingBox'), { x: 32, y: 24, w: 32, h: 24 });
    },
  },
  {
    of: 'a feature that is not there is refused by its name',
    call: analyze('features=caption,read'),
    init: asOctets,
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.equal(at(body, 'error', 'code'), 'InvalidRequest');
      assert.match(String(at(body, 'error', 'message')), /\bread\b/);
    },
  },
  {
    of: 'another language is refused',
    call: analyze('features=caption&language=de'),
    init: asOctets,
    reads: ({ status }) => {
      assert.equal(status, 400);
    },
  },
  {
    of: 'the address of an image is refused where URLs are not allowed',
    call: analyze('features=caption'),
    body: { url: 'https://example.org/a.jpg' },
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.equal(at(body, 'error', 'code'), 'InvalidImageUrl');
    },
  },
]);

replay('Azure 3.2', [
  {
    of: 'analyze has what was asked for',
    call: '/vision/v3.2/analyze?visualFeatures=Description,Tags',
    init: asOctets,
    reads: ({ body }) => {
      assert.deepEqual(at(body, 'description', 'captions', 0), { text: caption, confidence: 0.75 });
      assert.deepEqual(at(body, 'description', 'tags'), ['red', 'picture']);
      assert.deepEqual(at(body, 'tags', 0), { name: 'red', confidence: 0.9 });
      assert.deepEqual(body['metadata'], { width: 64, height: 48, format: 'jpeg' });
      assert.equal(typeof body['requestId'], 'string');
    },
  },
  {
    of: 'describe has as many candidates as asked for',
    call: '/vision/v3.2/describe?maxCandidates=2',
    init: { headers: { 'content-type': 'image/jpeg' }, body: image.file },
    reads: ({ body }) => {
      const captions = at(body, 'description', 'captions');
      assert.ok(Array.isArray(captions) && captions.length === 2);
      assert.equal(body['tags'], undefined);
    },
  },
  {
    of: 'a feature that is not there is refused by its name',
    call: '/vision/v3.2/analyze?visualFeatures=Faces',
    init: asOctets,
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.match(String(at(body, 'error', 'message')), /Faces/);
    },
  },
]);

test('Azure 4.0: gender-neutral-caption reaches the model, and dense captions give all slots back', async (t) => {
  const service = await startService(t);
  await ask(service, analyze('features=denseCaptions&gender-neutral-caption=true'), undefined, asOctets);
  const { captionItems } = service.scheduler;
  assert.equal(captionItems.length, 2);
  assert.ok(captionItems.every(({ options }) => options.genderNeutral));
  await service.scheduler.idle();
  service.scheduler.capacity = 5;
  const { status } = await ask(service, analyze('features=denseCaptions'), undefined, asOctets);
  assert.equal(status, 503);
});

test('Azure 4.0: a small queue holds as many regions as a request may have images', async (t) => {
  const service = await startService(t, { MAX_QUEUE_IMAGES: '4' });
  service.scheduler.capacity = 4;
  const { status } = await ask(service, analyze('features=denseCaptions'), undefined, asOctets);
  assert.equal(status, 200);
});
