import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { startService } from '../http/service.js';
import { serveImages } from '../images/image-server.js';
import { type Answer, ask, at, caption, image, replay } from './replay.js';

/** This file is compiled to dist/test/protocols. */
const heic = await readFile(
  new URL('../../../test/images/fixtures/quarters.heic', import.meta.url),
  'base64',
);

const textPart = { type: 'text', text: 'Describe this image' };
const imagePart = { type: 'image_url', image_url: { url: image.dataUrl, detail: 'low' } };
const chat = (content: unknown, more: object = {}) => ({
  model: 'example',
  messages: [{ role: 'user', content }],
  ...more,
});
const schemaOf = (properties: object, more: object = {}) => ({
  response_format: {
    type: 'json_schema',
    json_schema: {
      name: 'answer',
      strict: true,
      schema: {
        type: 'object',
        properties,
        required: Object.keys(properties),
        additionalProperties: false,
        ...more,
      },
    },
  },
});
const words = { type: 'array', items: { type: 'string' } };
const contentOf = (body: unknown) => String(at(body, 'choices', 0, 'message', 'content'));

/** The data of server-sent events, up to `[DONE]`. */
function eventsOf(text: string): unknown[] {
  const data = text.split('\n').flatMap((line) => (line.startsWith('data: ') ? [line.slice(6)] : []));
  return data.filter((each) => each !== '[DONE]').map((each): unknown => JSON.parse(each));
}

replay('OpenAI', [
  {
    of: 'Karakeep asks for tags by a schema',
    call: '/v1/chat/completions',
    body: chat([textPart, imagePart], { max_completion_tokens: 2048, ...schemaOf({ tags: words }) }),
    reads: ({ body }) => {
      assert.deepEqual(JSON.parse(contentOf(body)), { tags: ['red', 'picture'] });
    },
  },
  {
    of: 'Karakeep asks for a JSON object',
    call: '/v1/chat/completions',
    body: chat([textPart, imagePart], { max_tokens: 2048, response_format: { type: 'json_object' } }),
    reads: ({ body }) => {
      assert.deepEqual(at(JSON.parse(contentOf(body)), 'tags'), ['red', 'picture']);
    },
  },
  {
    of: 'Karakeep asks for no format of its tags',
    call: '/v1/chat/completions',
    body: chat([textPart, imagePart], { max_tokens: 2048 }),
    reads: ({ body }) => {
      assert.equal(contentOf(body), caption, 'empty content would throw');
    },
  },
  {
    of: 'Nextcloud sends an iPhone’s photo as it is',
    call: '/v1/chat/completions',
    body: chat([{ type: 'image_url', image_url: { url: `data:image/heic;base64,${heic}` } }, textPart]),
    reads: ({ body }) => {
      assert.match(contentOf(body), /^A \w+ picture/);
    },
  },
  {
    of: 'Nextcloud sends images before the text',
    call: '/v1/chat/completions',
    body: {
      model: 'example',
      n: 1,
      max_tokens: 1000,
      user: 'admin',
      messages: [
        { role: 'system', content: 'You describe images.' },
        { role: 'user', content: [imagePart, textPart] },
      ],
    },
    reads: ({ body }) => {
      assert.equal(contentOf(body), caption);
      assert.equal(at(body, 'choices', 0, 'finish_reason'), 'stop');
      assert.equal(Number(at(body, 'usage', 'total_tokens')) > 0, true);
    },
  },
  {
    of: 'Nextcloud lists models',
    call: 'GET /v1/models',
    reads: ({ body }) => {
      assert.equal(at(body, 'data', 0, 'id'), 'example');
    },
  },
  {
    of: 'Nextcloud streams',
    call: '/v1/chat/completions',
    body: chat([imagePart, textPart], { stream: true, stream_options: { include_usage: true } }),
    reads: ({ headers, text }) => {
      assert.match(headers.get('content-type') ?? '', /^text\/event-stream/);
      assert.ok(text.endsWith('data: [DONE]\n\n'));
      const events = eventsOf(text);
      const contents = events.map(
        (event) => at(event, 'choices', 0) && at(event, 'choices', 0, 'delta', 'content'),
      );
      assert.equal(contents.filter((each) => typeof each === 'string').join(''), caption);
      assert.equal(at(events.at(-2), 'choices', 0, 'finish_reason'), 'stop');
      assert.equal(Number(at(events.at(-1), 'usage', 'prompt_tokens')), 4);
    },
  },
  {
    of: 'Frigate sends several frames',
    call: '/v1/chat/completions',
    body: chat([textPart, imagePart, { ...imagePart, image_url: { url: `${image.dataUrl}\n` } }]),
    reads: ({ body }) => {
      assert.equal(contentOf(body), `${caption}. ${caption}`);
    },
  },
  {
    of: 'Frigate’s llama.cpp mode finds that the model takes images',
    call: 'GET /v1/models',
    reads: ({ body }) => {
      assert.deepEqual(at(body, 'data', 0, 'aliases'), []);
      const modalities = at(body, 'data', 0, 'architecture', 'input_modalities');
      assert.ok(Array.isArray(modalities) && modalities.includes('image'));
    },
  },
  {
    of: 'Frigate’s llama.cpp mode reads the properties of the server',
    call: 'GET /props?model=example',
    reads: ({ body }) => {
      assert.equal(typeof at(body, 'default_generation_settings', 'n_ctx'), 'number');
    },
  },
  {
    of: 'LLM Vision names its images',
    call: '/v1/chat/completions',
    body: {
      model: 'example',
      messages: [
        { role: 'system', content: 'Your task is to describe images' },
        { role: 'user', content: [{ type: 'text', text: 'Image 1:' }, imagePart, textPart] },
      ],
      max_tokens: 100,
      temperature: 0.2,
    },
    reads: ({ body }) => {
      assert.equal(contentOf(body), caption);
    },
  },
  {
    of: 'LLM Vision validates its connection without an image',
    call: '/v1/chat/completions',
    body: chat([{ type: 'text', text: 'Hi' }], { max_tokens: 1, temperature: 0.5 }),
    reads: ({ status, body }) => {
      assert.equal(status, 200);
      assert.match(contentOf(body), /send an image/);
    },
  },
  {
    of: 'LLM Vision asks for fields by a strict schema',
    call: '/v1/chat/completions',
    body: chat([textPart, imagePart], schemaOf({ description: { type: 'string' } })),
    reads: ({ body }) => {
      assert.deepEqual(JSON.parse(contentOf(body)), { description: caption });
    },
  },
  ...['Altbot', 'immich-analyze', 'SillyTavern'].map((program) => ({
    of: `${program} sends a text and a data URL`,
    call: '/v1/chat/completions',
    body: chat([textPart, { type: 'image_url', image_url: { url: image.dataUrl } }]),
    reads: ({ body }: Answer) => {
      assert.equal(contentOf(body), caption);
    },
  })),
  {
    of: 'Payload asks for an alt text and keywords',
    call: '/v1/chat/completions',
    body: chat([textPart, imagePart], schemaOf({ altText: { type: 'string' }, keywords: words })),
    reads: ({ body }) => {
      assert.deepEqual(JSON.parse(contentOf(body)), { altText: caption, keywords: ['red', 'picture'] });
    },
  },
  {
    of: 'Payload’s remote URL is refused where URLs are not allowed',
    call: '/v1/chat/completions',
    body: chat([{ type: 'image_url', image_url: { url: 'https://example.org/a.jpg' } }]),
    reads: ({ status, headers, body }) => {
      assert.equal(status, 400);
      assert.match(headers.get('content-type') ?? '', /^application\/json/);
      assert.equal(at(body, 'error', 'type'), 'invalid_request_error');
      assert.equal(at(body, 'error', 'code'), 'url_not_allowed');
    },
  },
  {
    of: 'a schema with an object for each language is refused by its name',
    call: '/v1/chat/completions',
    body: chat(
      [imagePart],
      schemaOf({ de: { type: 'object', properties: { altText: { type: 'string' } } } }),
    ),
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.match(String(at(body, 'error', 'message')), /"de"/);
    },
  },
  {
    of: 'a schema whose list cannot be filled is refused by its name',
    call: '/v1/chat/completions',
    body: chat([imagePart], schemaOf({ tags: { ...words, minItems: 3 } })),
    reads: ({ status, body }) => {
      assert.equal(status, 400);
      assert.match(String(at(body, 'error', 'message')), /"tags"/);
    },
  },
  {
    of: 'a list may be of words that the schema names',
    call: '/v1/chat/completions',
    body: chat(
      [imagePart],
      schemaOf({ tags: { type: 'array', items: { type: 'string', enum: ['red', 'blue'] } } }),
    ),
    reads: ({ body }) => {
      assert.deepEqual(JSON.parse(contentOf(body)), { tags: ['red'] });
    },
  },
  {
    of: 'SillyTavern has the image on the message itself',
    call: '/v1/chat/completions',
    body: {
      model: 'example',
      messages: [{ role: 'user', content: 'Describe', image_url: image.dataUrl }],
    },
    reads: ({ body }) => {
      assert.equal(contentOf(body), caption);
    },
  },
  {
    of: 'a conversation is answered with its last image',
    call: '/v1/chat/completions',
    body: {
      model: 'example',
      messages: [
        { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }] },
        { role: 'assistant', content: 'An image' },
        { role: 'user', content: [textPart, imagePart] },
      ],
    },
    reads: ({ body }) => {
      assert.equal(contentOf(body), caption);
    },
  },
  {
    of: 'a model of another name is not found',
    call: '/v1/chat/completions',
    body: { ...chat([imagePart]), model: 'gpt-4o' },
    reads: ({ status, body }) => {
      assert.equal(status, 404);
      assert.equal(at(body, 'error', 'code'), 'model_not_found');
    },
  },
  {
    of: 'PhotoPrism reads a caption of a response',
    call: '/v1/responses',
    body: {
      model: 'example',
      input: [
        {
          role: 'user',
          content: [
            { type: 'input_text', text: 'Describe' },
            { type: 'input_image', image_url: image.dataUrl, detail: 'low' },
          ],
        },
      ],
      max_output_tokens: 512,
    },
    reads: ({ body }) => {
      assert.equal(at(body, 'output', 0, 'content', 0, 'text'), caption);
      assert.equal(body['status'], 'completed');
    },
  },
  {
    of: 'PhotoPrism reads labels of a response by a schema with definitions',
    call: '/v1/responses',
    body: {
      model: 'example',
      input: [
        { role: 'user', type: 'message', content: [{ type: 'input_image', image_url: image.dataUrl }] },
      ],
      text: {
        format: {
          type: 'json_schema',
          name: 'photoprism',
          strict: true,
          schema: {
            type: 'object',
            $defs: {
              caption: {
                type: 'object',
                properties: { text: { type: 'string' }, confidence: { type: 'number' } },
                required: ['text', 'confidence'],
              },
            },
            properties: {
              caption: { $ref: '#/$defs/caption' },
              labels: {
                type: 'array',
                maxItems: 1,
                items: {
                  type: 'object',
                  properties: { name: { type: 'string' }, confidence: { type: 'number' } },
                  required: ['name', 'confidence'],
                  additionalProperties: false,
                },
              },
              notes: { anyOf: [{ type: 'string' }, { type: 'null' }] },
            },
            required: ['caption', 'labels', 'notes'],
          },
        },
      },
    },
    reads: ({ body }) => {
      assert.deepEqual(JSON.parse(String(at(body, 'output', 0, 'content', 0, 'text'))), {
        caption: { text: caption, confidence: 0.75 },
        labels: [{ name: 'red', confidence: 0.9 }],
        notes: null,
      });
    },
  },
  {
    of: 'a response streams as events',
    call: '/v1/responses',
    body: {
      model: 'example',
      stream: true,
      input: [{ role: 'user', content: [{ type: 'input_image', image_url: image.dataUrl }] }],
    },
    reads: ({ text }) => {
      const events = eventsOf(text);
      assert.equal(at(events[0], 'type'), 'response.created');
      assert.equal(at(events.at(-1), 'type'), 'response.completed');
      assert.equal(at(events.at(-1), 'response', 'output', 0, 'content', 0, 'text'), caption);
      assert.deepEqual(
        events.map((event) => at(event, 'sequence_number')),
        events.map((_, index) => index),
      );
    },
  },
]);

test('OpenAI: Payload’s remote URL is captioned where URLs are allowed', async (t) => {
  const images = await serveImages(t, (_request, response) => response.end(image.file));
  const service = await startService(t, { ALLOW_URL_IMAGES: 'true', URL_IMAGE_NETWORKS: '127.0.0.0/8' });
  const url = `${images.url}/a.jpg`;
  const sent = chat(
    [textPart, { type: 'image_url', image_url: { url } }],
    schemaOf({ altText: { type: 'string' } }),
  );
  const { body } = await ask(service, '/v1/chat/completions', sent);
  assert.deepEqual(JSON.parse(contentOf(body)), { altText: caption });
});

test('a caption below PROTOCOL_MIN_CONFIDENCE is a refusal without content', async (t) => {
  const service = await startService(t, { PROTOCOL_MIN_CONFIDENCE: '0.8' });
  const { body } = await ask(service, '/v1/chat/completions', chat([imagePart]));
  assert.equal(contentOf(body), '');
  assert.match(String(at(body, 'choices', 0, 'message', 'refusal')), /not confident/);
});
