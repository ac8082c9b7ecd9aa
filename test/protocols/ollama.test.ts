import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startService } from '../http/service.js';
import { type Answer, ask, at, caption, image, replay } from './replay.js';

/** The objects of an NDJSON stream, as ollama-js and the other clients read it. */
function linesOf({ status, headers, text }: Answer): unknown[] {
  assert.equal(status, 200);
  assert.equal(headers.get('content-type'), 'application/x-ndjson');
  return text
    .trimEnd()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
}

const joined = (lines: readonly unknown[], ...path: string[]) =>
  lines.map((line) => String(at(line, ...path))).join('');

replay('Ollama', [
  {
    of: 'PhotoPrism reads a caption',
    call: '/api/generate',
    body: {
      id: 'a1',
      model: 'example',
      version: 'latest',
      prompt: 'Describe the image',
      suffix: '',
      options: { temperature: 0.1 },
      stream: false,
      images: [image.base64],
    },
    init: { headers: { authorization: 'Bearer of-another-service' } },
    reads: ({ status, body }) => {
      assert.equal(status, 200);
      assert.equal(body['response'], caption);
      assert.equal(body['done'], true);
      assert.deepEqual(body['context'], []);
    },
  },
  {
    of: 'PhotoPrism reads labels from a text',
    call: '/api/generate',
    body: {
      model: 'example:latest',
      prompt: 'labels',
      format: 'json',
      stream: false,
      images: [image.base64],
    },
    reads: ({ body }) => {
      const labels = at(JSON.parse(String(body['response'])), 'labels');
      assert.deepEqual(at(labels, 0), { name: 'red', confidence: 0.9, topicality: 0.9 });
    },
  },
  {
    of: 'Karakeep streams tags by a schema',
    call: '/api/generate',
    body: {
      model: 'example',
      prompt: 'tags',
      images: [image.base64],
      stream: true,
      keep_alive: '5m',
      options: { num_ctx: 2048, num_predict: 2048 },
      format: {
        type: 'object',
        properties: { tags: { type: 'array', items: { type: 'string' } } },
        required: ['tags'],
        additionalProperties: false,
      },
    },
    reads: (answer) => {
      const lines = linesOf(answer);
      assert.deepEqual(JSON.parse(joined(lines, 'response')), { tags: ['red', 'picture'] });
      assert.equal(at(lines.at(-1), 'done'), true);
      assert.match(String(at(lines.at(-1), 'created_at')), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    },
  },
  {
    of: 'Karakeep asks for JSON without a schema',
    call: '/api/generate',
    body: { model: 'example', prompt: 'tags', images: [image.base64], format: 'json', keep_alive: -1 },
    reads: (answer) => {
      const tags = at(JSON.parse(joined(linesOf(answer), 'response')), 'tags');
      assert.deepEqual(tags, ['red', 'picture']);
    },
  },
  {
    of: 'a schema that is no object is refused',
    call: '/api/generate',
    body: { model: 'example', images: [image.base64], format: { type: 'array', items: { type: 'string' } } },
    reads: ({ status }) => {
      assert.equal(status, 400);
    },
  },
  {
    of: 'Karakeep asks for no format',
    call: '/api/generate',
    body: {
      model: 'example',
      prompt: 'tags',
      images: [image.base64],
      stream: true,
      options: { num_ctx: 2048, num_predict: 2048 },
      keep_alive: '5m',
    },
    reads: (answer) => {
      assert.equal(joined(linesOf(answer), 'response'), caption);
    },
  },
  {
    of: 'comfyui-ollama and SillyTavern generate, and comfyui-ollama reads the context',
    call: '/api/generate',
    body: {
      model: 'example',
      system: '',
      prompt: 'Describe',
      images: [image.base64],
      context: null,
      stream: false,
    },
    reads: ({ body }) => {
      assert.equal(body['response'], caption);
      assert.deepEqual(body['context'], []);
    },
  },
  {
    of: 'Frigate shows the model at its start',
    call: '/api/show',
    body: { model: 'example' },
    reads: ({ status, body }) => {
      assert.equal(status, 200);
      assert.deepEqual(body['capabilities'], ['completion', 'vision']);
    },
  },
  {
    of: 'Frigate sends several frames',
    call: '/api/generate',
    body: {
      model: 'example',
      prompt: 'describe',
      images: [image.base64, `${image.base64}\n`],
      stream: false,
    },
    reads: ({ body }) => {
      assert.equal(body['response'], `${caption}. ${caption}`);
    },
  },
  {
    of: 'Frigate’s review is refused by the name of what it requires',
    call: '/api/generate',
    body: {
      model: 'example',
      prompt: 'review',
      images: [image.base64],
      format: {
        type: 'object',
        properties: {
          scene: { type: 'string' },
          confidence: { type: 'number' },
          potential_threat_level: { type: 'integer' },
        },
        required: ['confidence', 'potential_threat_level'],
      },
    },
    reads: ({ status, headers, body }) => {
      assert.equal(status, 400);
      assert.match(headers.get('content-type') ?? '', /^application\/json/);
      assert.match(String(body['error']), /"potential_threat_level"/);
    },
  },
  {
    of: 'Home Assistant chats in a stream',
    call: '/api/chat',
    body: {
      model: 'example',
      messages: [
        { role: 'system', content: 'You describe images' },
        { role: 'user', content: 'What is in the picture?', images: [image.base64] },
      ],
      stream: true,
      think: false,
      format: '',
      tools: null,
      keep_alive: -1,
    },
    reads: (answer) => {
      const lines = linesOf(answer);
      assert.equal(joined(lines, 'message', 'content'), caption);
      assert.equal(at(lines.at(-1), 'done'), true);
    },
  },
  {
    of: 'LLM Vision repeats its image at the top',
    call: '/api/chat',
    body: {
      model: 'example',
      system: 'You describe images',
      prompt: [],
      messages: [{ role: 'user', content: 'Image 1:', images: [image.base64] }],
      images: [image.base64],
      stream: false,
      options: { temperature: 0.5 },
    },
    reads: ({ body }) => {
      assert.equal(at(body, 'message', 'content'), caption);
    },
  },
  {
    of: 'LLM Vision validates its connection',
    call: 'GET /api/tags',
    reads: ({ status, body }) => {
      assert.equal(status, 200);
      assert.equal(at(body, 'models', 0, 'model'), 'example:latest');
    },
  },
  {
    of: 'LLM Vision asks for a title without an image',
    call: '/api/chat',
    body: { model: 'example', messages: [{ role: 'user', content: 'A title for: a dog' }], stream: false },
    reads: ({ status, body }) => {
      assert.equal(status, 200);
      assert.match(String(at(body, 'message', 'content')), /send an image/);
    },
  },
  {
    of: 'immich-analyze chats with one image',
    call: '/api/chat',
    body: {
      model: 'example',
      messages: [{ role: 'user', content: 'Describe', images: [image.base64] }],
      stream: false,
    },
    reads: ({ body }) => {
      assert.equal(at(body, 'message', 'content'), caption);
    },
  },
  {
    of: 'ClassifAI generates',
    call: '/api/generate',
    body: { model: 'example', prompt: 'alt text', images: [image.base64], stream: false },
    reads: ({ body }) => {
      assert.equal(String(body['response']).replace(/^["']|["']$/g, ''), caption);
    },
  },
  {
    of: 'curl sends JSON as a form',
    call: '/api/generate',
    init: {
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: JSON.stringify({ model: 'example', images: [image.dataUrl], stream: false }),
    },
    reads: ({ body }) => {
      assert.equal(body['response'], caption);
    },
  },
  {
    of: 'a model of another name is not found',
    call: '/api/generate',
    body: { model: 'llava', prompt: 'hi', images: [image.base64] },
    reads: ({ status, body }) => {
      assert.equal(status, 404);
      assert.deepEqual(body, { error: "model 'llava' not found" });
    },
  },
  {
    of: 'the command line asks for the version',
    call: 'GET /api/version',
    reads: ({ body }) => {
      assert.match(String(body['version']), /^\d+\.\d+/);
    },
  },
]);

test('an alias is a name of the model, and stands in the lists', async (t) => {
  const service = await startService(t, { MODEL_ALIASES: 'llava,moondream:1.8b' });
  const { body } = await ask(service, 'GET /api/tags');
  const names = [0, 1, 2].map((index) => at(body, 'models', index, 'name'));
  assert.deepEqual(names, ['example:latest', 'llava:latest', 'moondream:1.8b']);
  for (const model of ['llava', 'llava:latest', 'moondream:1.8b']) {
    const answer = await ask(service, '/api/generate', { model, images: [image.base64], stream: false });
    assert.equal(answer.body['model'], model);
  }
  assert.deepEqual(at((await ask(service, 'GET /v1/models')).body, 'data', 0, 'aliases'), [
    'llava',
    'moondream:1.8b',
  ]);
});

test('HEAD / tells that a server is there, and GET / is still the playground', async (t) => {
  const { url } = await startService(t);
  const { status } = await fetch(url, { method: 'HEAD' });
  assert.equal(status, 200);
  assert.match(await (await fetch(url)).text(), /<html/);
});
