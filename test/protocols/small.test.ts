import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formOf, startService } from '../http/service.js';
import { ask, at, caption, image, replay } from './replay.js';

const form = () => formOf(['image', image.file]);

replay('A1111', [
  {
    of: 'a script reads a caption',
    call: '/sdapi/v1/interrogate',
    body: { image: image.base64, model: 'clip' },
    reads: ({ body }) => {
      assert.deepEqual(body, { caption });
    },
  },
  {
    of: 'KoboldCpp’s interface sends a data URL',
    call: '/sdapi/v1/interrogate',
    body: { image: image.dataUrl, model: 'deepdanbooru' },
    reads: ({ body }) => {
      assert.deepEqual(body, { caption: 'red, picture' });
    },
  },
  {
    of: 'no image is an error with its detail',
    call: '/sdapi/v1/interrogate',
    body: { model: 'clip' },
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.equal(typeof body['detail'], 'string');
    },
  },
]);

replay('img-alt-api', [
  {
    of: 'Phanpy sends a form and the language',
    call: '/img-alt-api?lang=en-GB',
    init: { body: form() },
    reads: ({ body }) => {
      assert.deepEqual(body, { description: caption });
    },
  },
  {
    of: 'another language is an error',
    call: '/img-alt-api?lang=de',
    init: { body: form() },
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.match(String(body['error']), /English/);
    },
  },
  {
    of: 'an address is refused where URLs are not allowed',
    call: 'GET /img-alt-api?image=https%3A%2F%2Fexample.org%2Fa.jpg',
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.equal(typeof body['error'], 'string');
    },
  },
]);

test('img-alt-api: a page of an allowed origin may call it', async (t) => {
  const { url } = await startService(t, { CORS_ORIGINS: 'https://phanpy.social' });
  const { headers } = await fetch(`${url}/img-alt-api`, {
    method: 'POST',
    headers: { origin: 'https://phanpy.social' },
    body: form(),
  });
  assert.equal(headers.get('access-control-allow-origin'), 'https://phanpy.social');
});

replay('Hugging Face', [
  {
    of: 'the client for Python reads a list',
    call: '/hugging-face',
    init: { headers: { 'content-type': 'image/jpeg' }, body: image.file },
    reads: ({ body }) => {
      assert.deepEqual(body, { 0: { generated_text: caption } });
    },
  },
  {
    of: 'the client for JavaScript reads an object',
    call: '/hugging-face',
    init: {
      headers: { 'user-agent': '@huggingface/inference/4.13.30 Mozilla' },
      body: image.file,
    },
    reads: ({ body }) => {
      assert.deepEqual(body, { generated_text: caption });
    },
  },
  {
    of: 'a path says that an object is wanted, and base64 is taken',
    call: '/hugging-face/object',
    body: { inputs: image.base64, parameters: {} },
    reads: ({ body }) => {
      assert.deepEqual(body, { generated_text: caption });
    },
  },
]);

replay('IBM MAX', [
  {
    of: 'a user reads candidates with their probabilities',
    call: '/model/predict',
    init: { body: form() },
    reads: ({ body }) => {
      assert.equal(body['status'], 'ok');
      assert.deepEqual(at(body, 'predictions', 0), { index: '0', caption, probability: 0.75 });
    },
  },
  {
    of: 'a user reads what the model is',
    call: 'GET /model/metadata',
    reads: ({ body }) => {
      assert.deepEqual(Object.keys(body), ['id', 'name', 'description', 'type', 'source', 'license']);
    },
  },
  {
    of: 'a form without an image is an error',
    call: '/model/predict',
    init: { body: formOf(['threshold', '0.5']) },
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.equal(body['status'], 'error');
    },
  },
]);

replay('KServe v2', [
  {
    of: 'a tensor of images is captioned',
    call: '/v2/models/example/infer',
    body: {
      id: '7',
      inputs: [{ name: 'image', shape: [2, 1], datatype: 'BYTES', data: [[image.base64], [image.base64]] }],
    },
    reads: ({ body }) => {
      assert.equal(body['id'], '7');
      assert.deepEqual(at(body, 'outputs', 0), {
        name: 'caption',
        datatype: 'BYTES',
        shape: [2],
        data: [caption, caption],
      });
    },
  },
  {
    of: 'a probe asks whether the model is ready',
    call: 'GET /v2/models/example/ready',
    reads: ({ status }) => {
      assert.equal(status, 200);
    },
  },
  {
    of: 'a client asks for the tensors',
    call: 'GET /v2/models/example',
    reads: ({ body }) => {
      assert.equal(at(body, 'inputs', 0, 'datatype'), 'BYTES');
    },
  },
  {
    of: 'a tensor of numbers is an error',
    call: '/v2/models/example/infer',
    body: { inputs: [{ name: 'image', shape: [1], datatype: 'FP32', data: [0] }] },
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.match(String(body['error']), /BYTES/);
    },
  },
]);

test('KServe v2: a server that is not ready says so', async (t) => {
  const service = await startService(t);
  assert.equal((await ask(service, 'GET /v2/health/live')).status, 200);
  assert.equal((await ask(service, 'GET /v2/health/ready')).status, 200);
  service.scheduler.readiness = { ready: false, reason: 'the processes start' };
  assert.equal((await ask(service, 'GET /v2/health/ready')).status, 503);
});
