import assert from 'node:assert/strict';
import { test } from 'node:test';
import pLimit from 'p-limit';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import sharp from 'sharp';
import { createCaptioner } from '../../src/captioner/captioner.js';
import { readConfig } from '../../src/config.js';
import { buildServer } from '../../src/http/server.js';
import { createInProcessDecoder } from '../images/in-process-decoder.js';
import { startTestEngine } from '../scheduler/test-engine.js';
import { formOf, json } from './service.js';

/** Ways to send an image, each with its options. */
const ways: readonly ((
  image: Buffer,
  options: Readonly<Record<string, string[]>>,
) => [string, RequestInit])[] = [
  (image, options) => ['', { body: formOf(['image', image], ...entriesOf(options)) }],
  (image, options) => [
    `?${new URLSearchParams(entriesOf(options)).toString()}`,
    { headers: { 'content-type': 'image/png' }, body: image },
  ],
  (image, options) => [
    '',
    {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        image: image.toString('base64'),
        candidates: Number(options['candidates']?.[0]),
        beamSize: Number(options['beamSize']?.[0]),
        maxLength: Number(options['maxLength']?.[0]),
        avoidWords: options['avoidWords'],
        genderNeutral: options['genderNeutral']?.[0] === 'true',
      }),
    },
  ],
];

function entriesOf(options: Readonly<Record<string, string[]>>): [string, string][] {
  return Object.entries(options).flatMap(([name, values]) =>
    values.map((value): [string, string] => [name, value]),
  );
}

test('each of 1,000 interleaved requests with unlike options gets its own answer', async (t) => {
  const { scheduler } = await startTestEngine(t, { workers: 3, maxQueueImages: 1000 });
  const { image } = scheduler.model.bundle;
  const config = readConfig({ REQUEST_TIMEOUT_MS: '600000', MAX_QUEUE_IMAGES: '1000' });
  const app = await buildServer({
    config,
    captioner: createCaptioner({
      decoder: createInProcessDecoder(config),
      maxFetchedBytes: config.maxBodyBytes,
    }),
    scheduler,
    logger: pino({ level: 'silent' }),
    registry: new Registry(),
    protocols: [],
  });
  t.after(() => app.close());
  const url = await app.listen({ host: '127.0.0.1', port: 0 });

  // As many at a time as a server's backlog of new connections can hold.
  const limit = pLimit(200);
  const texts = Array.from({ length: 1000 }, async (_, number) => {
    const candidates = 1 + (number % 3);
    const options = {
      candidates: [String(candidates)],
      beamSize: [String(candidates + (number % 5))],
      maxLength: [String(4 + (number % 3))],
      avoidWords: Array.from({ length: number % 4 }, (__, word) => `word${word + (number % 7)}`),
      genderNeutral: [String(number % 2 === 0)],
    };
    // The fake worker reads what happens to an image, and its number, from the colour.
    const background = { r: 0, g: number % 256, b: number >> 8 };
    const photo = await sharp({ create: { ...image, channels: 3, background } })
      .png()
      .toBuffer();
    const [query, init] = ways[number % ways.length]?.(photo, options) ?? [''];
    const response = await limit(() => fetch(`${url}/v1/captions${query}`, { method: 'POST', ...init }));
    const result = await json(response);
    assert.equal(response.status, 200, JSON.stringify(result));
    const asked = Object.values(options).map((values) => values.join('+'));
    assert.match(
      String(result['caption']),
      new RegExp(`^${number} by \\d+ asked ${asked.join('/').replaceAll('+', '\\+')}$`),
    );
    return result['caption'];
  });
  assert.equal(new Set(await Promise.all(texts)).size, 1000);
});
