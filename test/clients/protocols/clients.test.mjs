/** Official clients of other products, unmodified: only their address is this service's. */
import assert from 'node:assert/strict';
import { Blob } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { AzureKeyCredential } from '@azure/core-auth';
import azure from '@azure-rest/ai-vision-image-analysis';
import { InferenceClient } from '@huggingface/inference';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { Ollama } from 'ollama';
import OpenAI from 'openai';

const { SERVICE_URL: url, API_KEY: key, PHOTO: photo, COMMAND: command } = process.env;
const bytes = await readFile(photo);
const base64 = bytes.toString('base64');
const dataUrl = `data:image/jpeg;base64,${base64}`;
const model = 'pcm-net-lite2';

/** What this service's own call says of the photo. */
const { caption, confidence } = await (
  await fetch(`${url}/v1/captions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'image/jpeg' },
    body: bytes,
  })
).json();
assert.ok(caption.length > 5);

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const content = [
  { type: 'text', text: 'Describe this image' },
  { type: 'image_url', image_url: { url: dataUrl } },
];
const messages = [{ role: 'user', content }];

test('openai: chat, at once and in a stream', async () => {
  const whole = await openai.chat.completions.create({ model, messages });
  assert.equal(whole.choices[0].message.content, caption);
  const stream = await openai.chat.completions.create({ model, messages, stream: true });
  let streamed = '';
  for await (const chunk of stream) streamed += chunk.choices[0]?.delta.content ?? '';
  assert.equal(streamed, caption);
  const runner = openai.chat.completions.stream({ model, messages });
  assert.equal(await runner.finalContent(), caption);
});

test('openai: a response, at once and in a stream', async () => {
  const input = [
    {
      role: 'user',
      content: [
        { type: 'input_text', text: 'Describe this image' },
        { type: 'input_image', image_url: dataUrl, detail: 'auto' },
      ],
    },
  ];
  const whole = await openai.responses.create({ model, input });
  assert.equal(whole.output_text, caption);
  const final = await openai.responses.stream({ model, input }).finalResponse();
  assert.equal(final.output_text, caption);
});

test('openai: structured output by a schema', async () => {
  const properties = { altText: { type: 'string' }, keywords: { type: 'array', items: { type: 'string' } } };
  const schema = {
    type: 'object',
    properties,
    required: Object.keys(properties),
    additionalProperties: false,
  };
  const format = { type: 'json_schema', json_schema: { name: 'alt', strict: true, schema } };
  const { choices } = await openai.chat.completions.parse({ model, messages, response_format: format });
  const parsed = JSON.parse(choices[0].message.content);
  assert.equal(parsed.altText, caption);
  assert.ok(parsed.keywords.every((word) => typeof word === 'string'));
});

test('openai: embeddings of texts and images are in one space', async () => {
  const { data } = await openai.embeddings.create({
    model,
    input: [caption, dataUrl, 'quarterly figures of a bank'],
  });
  const [right, image, wrong] = data.map(({ embedding }) => embedding);
  const cosine = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
  assert.ok(Math.abs(cosine(image, image) - 1) < 1e-4);
  assert.ok(cosine(right, image) > cosine(wrong, image) + 0.1);
});

test('openai: models, and errors of the right class with the message', async () => {
  const names = [];
  for await (const each of openai.models.list()) names.push(each.id);
  assert.deepEqual(names, [model]);
  assert.equal((await openai.models.retrieve(model)).id, model);
  await assert.rejects(openai.chat.completions.create({ model: 'gpt-4o', messages }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.match(error.message, /gpt-4o/);
    return true;
  });
  await assert.rejects(openai.embeddings.create({ model, input: [[1, 2]] }), /token numbers/);
  const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'not-a-key-of-this-service' });
  await assert.rejects(stranger.chat.completions.create({ model, messages }), OpenAI.AuthenticationError);
});

test('openai: a 429 and a 503 are tried again', async () => {
  const statuses = [429, 503];
  const proxy = createServer(async (request, response) => {
    const status = statuses.shift();
    if (status !== undefined) {
      request.resume();
      response.writeHead(status, { 'retry-after': '0' }).end('{"error":{"message":"full"}}');
      return;
    }
    const parts = [];
    for await (const part of request) parts.push(part);
    const answer = await fetch(`${url}${request.url}`, {
      method: request.method,
      headers: { authorization: request.headers.authorization, 'content-type': 'application/json' },
      body: Buffer.concat(parts),
    });
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
  });
  await new Promise((resolve) => {
    proxy.listen(0, '127.0.0.1', resolve);
  });
  const { port } = proxy.address();
  const client = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: key, maxRetries: 2 });
  const { choices } = await client.chat.completions.create({ model, messages });
  assert.equal(choices[0].message.content, caption);
  assert.deepEqual(statuses, []);
  proxy.closeAllConnections();
  proxy.close();
});

test('ollama: generate and chat, at once and in a stream', async () => {
  const ollama = new Ollama({ host: url, headers: { authorization: `Bearer ${key}` } });
  assert.equal((await ollama.generate({ model, prompt: 'Describe', images: [base64] })).response, caption);
  let generated = '';
  for await (const part of await ollama.generate({ model, prompt: '', images: [bytes], stream: true })) {
    generated += part.response;
  }
  assert.equal(generated, caption);
  const asked = [{ role: 'user', content: 'Describe', images: [base64] }];
  assert.equal((await ollama.chat({ model, messages: asked })).message.content, caption);
  let chatted = '';
  for await (const part of await ollama.chat({ model, messages: asked, stream: true })) {
    chatted += part.message.content;
  }
  assert.equal(chatted, caption);
  assert.equal((await ollama.list()).models[0].name, `${model}:latest`);
  assert.ok((await ollama.show({ model })).capabilities.includes('vision'));
  await assert.rejects(ollama.generate({ model: 'llava', prompt: '' }), /model 'llava' not found/);
});

test('@huggingface/inference: an image to text', async () => {
  const client = new InferenceClient(key, { endpointUrl: `${url}/hugging-face` });
  const { generated_text: text } = await client.imageToText({
    data: new Blob([bytes], { type: 'image/jpeg' }),
  });
  assert.equal(text, caption);
});

test('@azure-rest/ai-vision-image-analysis: caption, dense captions and tags', async () => {
  // A CommonJS package, whose default export is a member to Node.
  const createImageAnalysis = azure.default;
  const client = createImageAnalysis(url, new AzureKeyCredential(key), { allowInsecureConnection: true });
  const { status, body } = await client.path('/imageanalysis:analyze').post({
    body: bytes,
    queryParameters: { features: ['Caption', 'DenseCaptions', 'Tags'], language: 'en' },
    contentType: 'application/octet-stream',
    allowInsecureConnection: true,
  });
  assert.equal(status, '200', JSON.stringify(body));
  assert.equal(body.captionResult.text, caption);
  assert.equal(body.captionResult.confidence, confidence);
  assert.equal(body.denseCaptionsResult.values[0].text, caption);
  assert.ok(body.tagsResult.values.every((tag) => tag.confidence >= 0.5));
});

/** What an agent does with the tools, over either transport. */
async function useTools(transport, image) {
  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(transport);
  const { tools } = await client.listTools();
  assert.deepEqual(
    tools.map(({ name }) => name),
    ['caption_image', 'score_alt_text', 'tag_image'],
  );
  const captioned = await client.callTool({ name: 'caption_image', arguments: image });
  assert.equal(captioned.structuredContent.caption, caption);
  const scored = await client.callTool({ name: 'score_alt_text', arguments: { ...image, texts: [caption] } });
  assert.ok(scored.structuredContent.scores[0].matchProbability > 0.5);
  const tagged = await client.callTool({ name: 'tag_image', arguments: image });
  assert.ok(Array.isArray(tagged.structuredContent.tags));
  await client.close();
}

test('MCP: the SDK’s client, over HTTP', async () => {
  const requestInit = { headers: { authorization: `Bearer ${key}` } };
  await useTools(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit }), {
    image: base64,
  });
});

test('MCP: the SDK’s client, over standard input and output, with a path', async () => {
  await useTools(new StdioClientTransport({ command: process.execPath, args: [command, 'mcp'] }), {
    path: photo,
  });
});
