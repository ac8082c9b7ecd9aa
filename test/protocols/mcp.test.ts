import assert from 'node:assert/strict';
import { startService } from '../http/service.js';
import { test } from 'node:test';
import { ask, at, caption, image, replay } from './replay.js';

const accepts = { headers: { accept: 'application/json, text/event-stream' } };
const call = (name: string, input: object) => ({
  jsonrpc: '2.0',
  id: 1,
  method: 'tools/call',
  params: { name, arguments: input },
});

/** The message of an answer, which may come as a server-sent event. */
function messageOf(text: string): unknown {
  return JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? text);
}

replay('MCP', [
  {
    of: 'an agent connects',
    call: '/mcp',
    init: accepts,
    body: {
      jsonrpc: '2.0',
      id: 0,
      method: 'initialize',
      params: {
        protocolVersion: '2025-06-18',
        capabilities: {},
        clientInfo: { name: 'agent', version: '1' },
      },
    },
    reads: ({ status, text }) => {
      const body = messageOf(text);
      assert.equal(status, 200);
      assert.equal(at(body, 'result', 'serverInfo', 'name'), 'pcm-caption');
    },
  },
  {
    of: 'an agent lists the tools, none of which reads files over HTTP',
    call: '/mcp',
    init: accepts,
    body: { jsonrpc: '2.0', id: 1, method: 'tools/list' },
    reads: ({ text }) => {
      const body = messageOf(text);
      const names = [0, 1, 2].map((index) => at(body, 'result', 'tools', index, 'name'));
      assert.deepEqual(names, ['caption_image', 'score_alt_text', 'tag_image']);
      assert.doesNotMatch(text, /"path"/);
    },
  },
  {
    of: 'an agent captions an image',
    call: '/mcp',
    init: accepts,
    body: call('caption_image', { image: image.base64 }),
    reads: ({ text }) => {
      const body = messageOf(text);
      assert.equal(at(body, 'result', 'structuredContent', 'caption'), caption);
      assert.equal(at(body, 'result', 'structuredContent', 'confidence'), 0.75);
    },
  },
  {
    of: 'an agent checks alt texts',
    call: '/mcp',
    init: accepts,
    body: call('score_alt_text', { image: image.dataUrl, texts: ['a red wall', 'a cat'] }),
    reads: ({ text }) => {
      const body = messageOf(text);
      const scores = at(body, 'result', 'structuredContent', 'scores');
      assert.equal(at(scores, 0, 'matchProbability'), 0.98);
      assert.equal(at(scores, 1, 'matchProbability'), 0.02);
    },
  },
  {
    of: 'an agent tags an image',
    call: '/mcp',
    init: accepts,
    body: call('tag_image', { image: image.base64 }),
    reads: ({ text }) => {
      const body = messageOf(text);
      assert.deepEqual(at(body, 'result', 'structuredContent', 'tags', 0), { word: 'red', probability: 0.9 });
    },
  },
  {
    of: 'a refusal is an answer that the agent reads',
    call: '/mcp',
    init: accepts,
    body: call('caption_image', { image: 'AAAA' }),
    reads: ({ status, text }) => {
      const body = messageOf(text);
      assert.equal(status, 200);
      assert.equal(at(body, 'result', 'isError'), true);
      assert.match(String(at(body, 'result', 'content', 0, 'text')), /^unsupported_image_format: /);
    },
  },
  {
    of: 'a path is not read over HTTP',
    call: '/mcp',
    init: accepts,
    body: call('caption_image', { path: '/etc/hostname' }),
    reads: ({ text }) => {
      assert.match(text, /files are read by|additional|path/);
      assert.doesNotMatch(text, /structuredContent/);
    },
  },
]);

test('MCP: a batch of messages is refused, and an error is one of JSON-RPC', async (t) => {
  const service = await startService(t);
  const { status, body } = await ask(
    service,
    '/mcp',
    [call('caption_image', { image: image.base64 })],
    accepts,
  );
  assert.equal(status, 400);
  assert.equal(at(body, 'error', 'code'), -32_000);
  assert.equal(service.scheduler.items.length, 0);
});

test('MCP: who subscribes to changes is told at once that there are none, and holds no slot', async (t) => {
  const service = await startService(t);
  const revision = '2026-07-28';
  const { status, text } = await ask(
    service,
    '/mcp',
    {
      jsonrpc: '2.0',
      id: 1,
      method: 'subscriptions/listen',
      params: {
        notifications: { toolsListChanged: true },
        _meta: {
          'io.modelcontextprotocol/protocolVersion': revision,
          'io.modelcontextprotocol/clientInfo': { name: 'agent', version: '1' },
          'io.modelcontextprotocol/clientCapabilities': {},
        },
      },
    },
    {
      headers: {
        ...accepts.headers,
        'mcp-protocol-version': revision,
        'mcp-method': 'subscriptions/listen',
      },
    },
  );
  assert.equal(status, 200, text);
  assert.match(text, /"notifications":\{\}[^]*"resultType":"complete"/);
  await service.scheduler.idle();
});

test('MCP: what goes wrong inside is in the log, and its client reads nothing of it', async (t) => {
  const service = await startService(t);
  service.scheduler.failWith(new Error('secret at /app/dist'));
  const { text } = await ask(service, '/mcp', call('caption_image', { image: image.base64 }), accepts);
  assert.match(String(at(messageOf(text), 'result', 'content', 0, 'text')), /^internal: /);
  assert.doesNotMatch(text, /secret/);
  assert.match(service.log(), /secret at .*"unexpected error"/);
});

test('MCP: a page calls from this machine or an origin of CORS_ORIGINS only', async (t) => {
  const service = await startService(t, { CORS_ORIGINS: 'https://example.org' });
  const statusFrom = async (origin: string) => {
    const headers = { ...accepts.headers, origin };
    return (await ask(service, '/mcp', { jsonrpc: '2.0', id: 1, method: 'ping' }, { headers })).status;
  };
  for (const origin of [
    'http://localhost:6274',
    'http://127.0.0.1',
    'http://[::1]:1',
    'https://example.org',
  ]) {
    assert.equal(await statusFrom(origin), 200, origin);
  }
  for (const origin of ['http://evil.example.com', 'http://localhost.example.com', 'null']) {
    assert.equal(await statusFrom(origin), 403, origin);
  }
});
