import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { markdownTable } from '../measure/table.js';
import { eventLoopDelay } from '../service/event-loop-delay.js';
import { builtService, startService } from '../service/running-service.js';
import { exchange, headOf } from './raw-http.js';
import type { Torture, TortureContext, TortureResult } from './torture.js';

const maxDelayMs = 100;
const maxHealthMs = 250;
/** The default `MAX_BODY_BYTES`. */
const maxBytes = 20 * 1024 ** 2;
/** The default `MAX_BATCH_IMAGES`. */
const maxImages = 16;

export const eventLoop: Torture = {
  name: 'loop',
  help: 'event-loop delay of the service, and /healthz at its slowest, while the largest bodies come one after the other',
  inflict,
};

interface Kind {
  readonly name: string;
  readonly path: string;
  readonly type: string;
  readonly body: Buffer;
}

async function inflict({ seconds, progress }: TortureContext): Promise<TortureResult> {
  const kinds = await largestBodies();
  const windowMs = 1000 * Math.min(10, Math.max(2, seconds / kinds.length));
  const service = await startService(builtService, { ...process.env, CACHE_SIZE: '0' });
  const failures: string[] = [];
  const rows: string[][] = [];
  for (const { name, path, type, body } of kinds) {
    progress(name);
    const answers = new Set<string>();
    const over = AbortSignal.timeout(windowMs);
    let [sent, slowestMs] = [0, 0];
    const health = async (): Promise<void> => {
      while (!over.aborted) {
        const since = performance.now();
        await (await fetch(`${service.url}/healthz`)).text();
        slowestMs = Math.max(slowestMs, performance.now() - since);
        await sleep(10);
      }
    };
    await eventLoopDelay(service.url); // begins afresh
    const watching = health();
    while (!over.aborted) {
      answers.add(await exchange(service.url, headOf(path, type, body.length), body));
      sent += 1;
    }
    await watching;
    const delay = (await eventLoopDelay(service.url)) ?? { p99: NaN, longest: NaN };
    if (!(delay.p99 < maxDelayMs)) failures.push(`${name}: event-loop delay p99 ${delay.p99.toFixed(0)} ms`);
    if (slowestMs > maxHealthMs) failures.push(`${name}: /healthz took ${slowestMs.toFixed(0)} ms`);
    const figures = [delay.p99, delay.longest, slowestMs].map((ms) => ms.toFixed(0));
    rows.push([name, (body.length / 1e6).toFixed(1), String(sent), [...answers].join(', '), ...figures]);
  }
  await service.stop();
  const text = [
    `### The event loop while bodies of up to ${maxBytes} bytes come (p99 under ${maxDelayMs} ms, /healthz under ${maxHealthMs} ms)`,
    markdownTable(
      ['body', 'MB', 'sent', 'answers', 'delay p99 ms', 'delay at most ms', '/healthz at most ms'],
      rows,
    ),
  ].join('\n\n');
  return { text, failures };
}

async function largestBodies(): Promise<Kind[]> {
  const photo = await sharp({ create: { width: 640, height: 480, channels: 3, background: '#3a7' } })
    .jpeg()
    .toBuffer();
  const base64 = photo.toString('base64');
  /** Base64 of so many characters, of the photo and zeros after it. */
  const padded = (characters: number) =>
    Buffer.concat([photo, Buffer.alloc(Math.floor((characters * 3) / 4) - photo.length)]).toString('base64');
  const json = (name: string, value: string | object, path = '/v1/captions'): Kind => ({
    name,
    path,
    type: 'application/json',
    body: Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
  });
  const whole = padded(maxBytes - 2000);
  const each = padded(Math.floor(maxBytes / maxImages) - 100);
  const beside = (member: string) => `{"image":"${base64}",${member}}`;
  const fill = (text: string) => text.repeat(Math.floor((maxBytes - 10_000) / Buffer.byteLength(text)));
  const boundary = 'pcm-caption-torture';
  const form = Buffer.concat([
    Buffer.from(
      `--${boundary}\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n`,
      'latin1',
    ),
    photo,
    Buffer.alloc(maxBytes - 1000 - photo.length),
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
  return [
    json('one image in JSON', { image: whole }),
    json('the same with line breaks', {
      image: whole.replaceAll(/.{76}/g, '$&\r\n').slice(0, maxBytes - 600_000),
    }),
    json('the same with escaped slashes', `{"image":"${'\\/9j/'.repeat(Math.floor((maxBytes - 100) / 5))}"}`),
    json(
      'a batch of images in JSON',
      { images: Array.from({ length: maxImages }, () => ({ image: each })) },
      '/v1/captions/batch',
    ),
    json(
      'one image in JSON to OpenAI',
      {
        messages: [
          {
            role: 'user',
            content: [{ type: 'image_url', image_url: { url: `data:image/jpeg;base64,${whole}` } }],
          },
        ],
      },
      '/v1/chat/completions',
    ),
    json('one image in JSON to Ollama', { images: [whole], stream: false }, '/api/generate'),
    json('texts that are as long as payloads', beside(`"avoidWords":[${fill(`"${'a'.repeat(4200)}",`)}"a"]`)),
    json('one long text', beside(`"avoidWords":["${fill('a-')}"]`)),
    json('one long text that is not Latin', beside(`"avoidWords":["${fill('犬と')}"]`)),
    json('numbers', beside(`"concepts":[${fill('0,')}0]`)),
    json('short texts', beside(`"concepts":[${fill('"a",')}"a"]`)),
    json('lists in each other', fill('[')),
    json('escaped quotes', beside(`"avoidWords":["${fill('\\"')}"]`)),
    {
      name: 'a raw image',
      path: '/v1/captions',
      type: 'image/jpeg',
      body: Buffer.concat([photo, Buffer.alloc(maxBytes - photo.length)]),
    },
    {
      name: 'an image in a form',
      path: '/v1/captions',
      type: `multipart/form-data; boundary=${boundary}`,
      body: form,
    },
  ];
}
