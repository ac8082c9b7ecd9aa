import { readFile } from 'node:fs/promises';
import { median } from '../measure/statistics.js';
import { markdownTable } from '../measure/table.js';
import { againstTarget } from '../measure/target.js';
import { createClient } from '../service/caption-client.js';
import { runClosedLoop } from '../service/closed-loop.js';
import { builtService, startService } from '../service/running-service.js';
import { BenchError, type Figure, type FigureContext, type FigureResult } from './figure.js';

const concurrency = 32;
const rounds = 9;
const warmUpMs = 3000;
/** Bodies in base64, of each protocol: more than are in flight are enough, as the result cache is off. */
const mostPhotos = 100;

interface Way {
  readonly path: string;
  readonly bodyOf: (base64: string) => object;
}

/** The same photo, asked for in JSON. The first is this service's own. */
const ways: readonly [Way, ...Way[]] = [
  { path: '/v1/captions', bodyOf: (image) => ({ image }) },
  {
    path: '/v1/chat/completions',
    bodyOf: (base64) => {
      const url = `data:image/jpeg;base64,${base64}`;
      const content = [
        { type: 'text', text: 'Describe this image' },
        { type: 'image_url', image_url: { url } },
      ];
      return { messages: [{ role: 'user', content }] };
    },
  },
  {
    path: '/api/generate',
    bodyOf: (base64) => ({ prompt: 'Describe this image', images: [base64], stream: false }),
  },
];

/** What a protocol of another product costs over this service's own. */
export const protocols: Figure = {
  name: 'protocols',
  help: 'images/s through OpenAI chat and Ollama generate ÷ /v1/captions, JSON for JSON, at concurrency 32',
  measure,
};

async function measure({ photos, seconds, progress }: FigureContext): Promise<FigureResult> {
  progress('starting the service');
  const service = await startService(builtService, { ...process.env, CACHE_SIZE: '0' });
  const base64 = await Promise.all(photos.slice(0, mostPhotos).map((photo) => readFile(photo, 'base64')));
  const clients = ways.map(({ path, bodyOf }) => {
    const bodies = base64.map((image) => Buffer.from(JSON.stringify(bodyOf(image))));
    return createClient(`${service.url}${path}`, 'application/json', bodies);
  });
  const run = async (way: number, windowMs: number): Promise<number> => {
    const client = clients[way];
    if (client === undefined) throw new BenchError('there is no such protocol');
    const { answers, imagesPerSecond } = await runClosedLoop({ client, concurrency, windowMs });
    const refused = answers.find(({ status }) => status !== 200);
    if (refused !== undefined) throw new BenchError(`${ways[way]?.path ?? ''} answered ${refused.status}`);
    return imagesPerSecond;
  };

  for (const way of ways.keys()) await run(way, warmUpMs);
  const windowMs = (1000 * seconds) / rounds / ways.length;
  /** Images/s of each way, by round. */
  const rates: number[][] = ways.map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    // Each is measured first, in the middle and last as often: a machine that gets faster or slower favours none.
    for (const place of ways.keys()) {
      const way = (round + place) % ways.length;
      rates[way]?.push(await run(way, windowMs));
    }
    const last = rates.map((each) => each.at(-1)?.toFixed(1) ?? '');
    progress(`round ${round + 1} of ${rounds}: ${last.join(', ')} images/s`);
  }
  await service.stop();

  const own = rates[0] ?? [];
  const rows = ways.map(({ path }, way) => {
    const each = rates[way] ?? [];
    const ratios = each.map((rate, round) => rate / (own[round] ?? NaN));
    return { path, imagesPerSecond: median(each), ratio: median(ratios), ratios };
  });
  const text = [
    `images/s at concurrency ${concurrency}, JSON for JSON; ratios are of the same round`,
    markdownTable(
      ['', 'images/s', '÷ /v1/captions', 'rounds'],
      rows.map(({ path, imagesPerSecond, ratio, ratios }, way) => [
        path,
        imagesPerSecond.toFixed(1),
        ...(way === 0
          ? ['', '']
          : [
              againstTarget(ratio, { atLeast: 0.97 }),
              `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
            ]),
      ]),
    ),
  ].join('\n\n');
  return { text, data: { concurrency, rows } };
}
