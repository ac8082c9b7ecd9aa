import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Service, startService } from '../http/service.js';
import { image } from './replay.js';

/**
 * Requests of other products' programs with something changed: a value that is another, or gone, or new. Whatever comes is
 * answered, never by 500, and an error in the shape that the protocol's programs read.
 */

const isText = (value: unknown) => typeof value === 'string' && value !== '';
const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null
    ? Object.entries(value).find(([key]) => key === name)?.[1]
    : undefined;

interface Call {
  readonly path: string;
  readonly body: object;
}
interface Family {
  readonly protocol: string;
  readonly isError: (body: unknown, status: number) => boolean;
  readonly calls: readonly Call[];
}

const plainError = (body: unknown) => isText(memberOf(body, 'error'));
const format = {
  type: 'json_schema',
  name: 'answer',
  json_schema: {
    name: 'answer',
    schema: {
      type: 'object',
      properties: {
        caption: { type: 'object', properties: { text: { type: 'string' }, confidence: { type: 'number' } } },
        tags: { type: 'array', items: { type: 'string' }, maxItems: 3 },
        labels: { type: 'array', items: { $ref: '#/$defs/label' } },
      },
      required: ['caption', 'tags'],
      $defs: { label: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] } },
    },
  },
};
const message = {
  role: 'user',
  content: [
    { type: 'text', text: 'Describe' },
    { type: 'image_url', image_url: { url: image.dataUrl, detail: 'low' } },
  ],
};
const azure4 = '/computervision/imageanalysis:analyze?api-version=2024-02-01';
const tool = (name: string, input: object) => ({
  jsonrpc: '2.0',
  id: 1,
  method: 'tools/call',
  params: { name, arguments: input },
});

const families: readonly Family[] = [
  {
    protocol: 'ollama',
    isError: plainError,
    calls: [
      {
        path: '/api/generate',
        body: { model: 'example', prompt: 'Describe', images: [image.base64], format: 'json', stream: false },
      },
      {
        path: '/api/chat',
        body: {
          model: 'example:latest',
          messages: [{ role: 'user', content: 'Describe', images: [image.base64] }],
          format: format.json_schema.schema,
          options: { temperature: 0 },
          stream: true,
        },
      },
      { path: '/api/show', body: { model: 'example' } },
    ],
  },
  {
    protocol: 'openai',
    isError: (body) => {
      const error = memberOf(body, 'error');
      return (
        isText(memberOf(error, 'message')) &&
        isText(memberOf(error, 'type')) &&
        isText(memberOf(error, 'code'))
      );
    },
    calls: [
      {
        path: '/v1/chat/completions',
        body: {
          model: 'example',
          messages: [message],
          response_format: format,
          stream: false,
          n: 1,
          tool_choice: 'none',
        },
      },
      {
        path: '/v1/chat/completions',
        body: { messages: [message, message], stream: true, stream_options: { include_usage: true } },
      },
      {
        path: '/v1/responses',
        body: {
          model: 'example',
          input: [{ role: 'user', content: [{ type: 'input_image', image_url: image.dataUrl }] }],
          text: { format: { type: 'json_schema', name: 'answer', schema: format.json_schema.schema } },
        },
      },
    ],
  },
  {
    protocol: 'photoprism',
    isError: (body, status) => plainError(body) && memberOf(body, 'code') === status,
    calls: ['caption', 'labels'].map((what) => ({
      path: `/api/v1/vision/${what}`,
      body: { id: 'a', model: 'example', suffix: '', stream: false, images: [image.dataUrl], url: '' },
    })),
  },
  {
    protocol: 'azure',
    isError: (body) => {
      const error = memberOf(body, 'error');
      return isText(memberOf(error, 'code')) && isText(memberOf(error, 'message'));
    },
    calls: [`${azure4}&features=caption,denseCaptions,tags`, '/vision/v3.2/analyze?visualFeatures=Tags'].map(
      (path) => ({
        path,
        body: { url: 'https://example.org/a.jpg' },
      }),
    ),
  },
  {
    protocol: 'mcp',
    isError: (body) => isText(memberOf(memberOf(body, 'error'), 'message')),
    calls: [
      { path: '/mcp', body: tool('caption_image', { image: image.base64 }) },
      { path: '/mcp', body: tool('score_alt_text', { image: image.base64, texts: ['a', 'b'] }) },
      {
        path: '/mcp',
        body: {
          jsonrpc: '2.0',
          id: 0,
          method: 'initialize',
          params: {
            protocolVersion: '2025-06-18',
            capabilities: {},
            clientInfo: { name: 'a', version: '1' },
          },
        },
      },
    ],
  },
  {
    protocol: 'a1111',
    isError: (body) => isText(memberOf(body, 'detail')),
    calls: [{ path: '/sdapi/v1/interrogate', body: { image: image.dataUrl, model: 'clip' } }],
  },
  {
    protocol: 'hugging-face',
    isError: plainError,
    calls: [{ path: '/hugging-face', body: { inputs: image.base64, parameters: {} } }],
  },
  {
    protocol: 'kserve',
    isError: plainError,
    calls: [
      {
        path: '/v2/models/example/infer',
        body: { id: '1', inputs: [{ name: 'image', shape: [1], datatype: 'BYTES', data: [image.base64] }] },
      },
    ],
  },
];

/** Values where another was: of every type, names that JavaScript knows, and texts that mean something here. */
const odd: fc.Arbitrary<unknown> = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom<unknown>(
    null,
    '',
    -1,
    1e308,
    2 ** 53,
    [],
    {},
    'data:,',
    'data:image/png;base64,AAAA',
    'https://127.0.0.1/',
    'http://[',
    '\u0000',
    '\ud800',
    'x'.repeat(5000),
    ['constructor', 'toString'],
    { $ref: '#' },
    { $ref: '#/$defs/../..' },
    { type: ['object', null], required: [1] },
    { anyOf: [{}, null] },
  ),
);

type Change = (value: unknown, steps: readonly number[], other: unknown) => unknown;

/** Follows steps into a value, and changes what is there. */
const change: Change = (value, [step, ...steps], other) => {
  if (step === undefined || typeof value !== 'object' || value === null) return other;
  const members: [string, unknown][] = Object.entries(value);
  // One more than there are: then a member is added.
  const at = step % (members.length + 1);
  const [name, member] = members[at] ?? ['added', undefined];
  const changed = change(member, steps, other);
  if (Array.isArray(value)) {
    const list: unknown[] = value;
    return changed === undefined ? list.toSpliced(at, 1) : list.toSpliced(at, 1, changed);
  }
  return { ...value, [name]: changed };
};

async function assertAnswered(
  { url }: Service,
  { protocol, isError }: Family,
  path: string,
  body: string,
): Promise<void> {
  const headers = {
    'content-type': 'application/json',
    ...(protocol === 'mcp' && { accept: 'application/json, text/event-stream' }),
  };
  const response = await fetch(`${url}${path}`, { method: 'POST', headers, body });
  const text = await response.text();
  const told = `${path} ${body.slice(0, 300)} → ${response.status} ${text.slice(0, 300)}`;
  assert.ok(response.status < 500, told);
  if (response.status < 400) return;
  assert.match(response.headers.get('content-type') ?? '', /^application\/json/, told);
  assert.ok(isError(JSON.parse(text), response.status), told);
}

for (const family of families) {
  test(`${family.protocol}: a request with anything changed is answered, an error in its shape`, async (t) => {
    const service = await startService(t);
    for (const { path, body } of family.calls) {
      const steps = fc.array(fc.nat(5), { maxLength: 6 });
      const changes = fc.array(fc.tuple(steps, fc.option(odd, { nil: undefined })), {
        minLength: 1,
        maxLength: 3,
      });
      await fc.assert(
        fc.asyncProperty(changes, async (all) => {
          const changed = all.reduce<unknown>((value, [at, other]) => change(value, at, other), body);
          await assertAnswered(service, family, path, changed === undefined ? '' : JSON.stringify(changed));
        }),
        { numRuns: 100 },
      );
    }
  });

  test(`${family.protocol}: a body that is none of its own is answered, an error in its shape`, async (t) => {
    const service = await startService(t);
    const bodies = [
      '',
      '{',
      '[]',
      'null',
      '"a"',
      '[1]',
      '{"__proto__":{}}',
      `{"a":"${'x'.repeat(9000)}`,
      '\ud800',
    ];
    for (const { path } of family.calls) {
      for (const body of bodies) await assertAnswered(service, family, path, body);
    }
  });
}
