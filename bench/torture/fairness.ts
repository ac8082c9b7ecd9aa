import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp, { type Sharp } from 'sharp';
import { markdownTable } from '../measure/table.js';
import { somePhotos } from '../photos/some-photos.js';
import { memoryOfTree } from '../service/process-memory.js';
import { builtService, startService } from '../service/running-service.js';
import { postImage } from './requests.js';
import type { Torture, TortureContext, TortureResult } from './torture.js';

const crowd = 16;
/** Of the wait beside ordinary clients. */
const maxWaitRatio = 2;
const maxMemoryRatio = 1.3;
const maxGoodMs = 1000;
/** A picture of nearly the most pixels that are taken. */
const largest = { width: 7000, height: 7000 };
/** This file is compiled to dist/bench/torture. */
const cases = new URL('../../../test/images/cases/', import.meta.url);

export const fairness: Torture = {
  name: 'fairness',
  help: 'small photos beside the largest pictures, and good photos beside each hostile file, in looped requests',
  inflict,
};

interface Phase {
  /** Milliseconds that each good photo took. */
  readonly waitsMs: readonly number[];
  /** MiB of all processes at most, by PSS; NaN where the system does not tell. */
  readonly memory: number;
  readonly sent: number;
  readonly outcomes: ReadonlySet<string>;
}

async function inflict(context: TortureContext): Promise<TortureResult> {
  const { photoFolder, seconds, progress } = context;
  const phaseMs = 1000 * Math.min(30, Math.max(5, seconds / 20));
  const photos = await somePhotos(photoFolder, 16);
  const small = await Promise.all(photos.map((photo) => sharp(photo).resize(256, 256).jpeg().toBuffer()));
  const service = await startService(builtService, { ...process.env, CACHE_SIZE: '0' });
  const failures: string[] = [];

  /** Clients that post `files` without a pause, and one that posts small photos, each after a pause. */
  async function phase(
    name: string,
    files: readonly Buffer[],
    clients: number,
    pauseMs: number,
  ): Promise<Phase> {
    progress(name);
    const over = AbortSignal.timeout(phaseMs);
    const waitsMs: number[] = [];
    const outcomes = new Set<string>();
    let [sent, memory] = [0, 0];
    const client = async (number: number): Promise<void> => {
      for (let next = number; !over.aborted; next += 1) {
        outcomes.add(
          (await postImage(service.url, files[next % files.length] ?? Buffer.alloc(0), 'body')).outcome,
        );
        sent += 1;
      }
    };
    const goodClient = async (): Promise<void> => {
      for (let next = 0; !over.aborted; next += 1) {
        const since = performance.now();
        const { outcome } = await postImage(
          service.url,
          small[next % small.length] ?? Buffer.alloc(0),
          'body',
        );
        waitsMs.push(performance.now() - since);
        if (outcome !== '200') failures.push(`a small photo beside ${name}: ${outcome}`);
        await sleep(pauseMs);
      }
    };
    const watch = async (): Promise<void> => {
      while (!over.aborted) {
        memory = Math.max(memory, ((await memoryOfTree(service.pid)) ?? NaN) / 1024 ** 2);
        await sleep(100);
      }
    };
    await Promise.all([
      ...Array.from({ length: clients }, (_, number) => client(number)),
      goodClient(),
      watch(),
    ]);
    return { waitsMs, memory, sent, outcomes };
  }

  await phase('a warm-up', photos, crowd, 0);
  const ordinary = await phase('ordinary photos', photos, crowd, 0);
  const large = await phase('the largest pictures', await largestPictures(), crowd, 0);
  const ratio = medianOf(large.waitsMs) / medianOf(ordinary.waitsMs);
  if (ratio > maxWaitRatio) {
    failures.push(`small photos wait ${ratio.toFixed(2)} times as long beside the largest pictures`);
  }
  const rows: string[][] = [];
  for (const [name, file] of await hostileFiles()) {
    const found = await phase(name, [file], 4, 1000);
    rows.push(rowOf(name, found));
    const most = Math.max(...found.waitsMs);
    if (most > maxGoodMs) failures.push(`beside ${name}, a good photo took ${most.toFixed(0)} ms`);
    const growth = found.memory / ordinary.memory;
    if (growth > maxMemoryRatio)
      failures.push(`${name} takes ${growth.toFixed(2)} times the memory of photos`);
  }
  await service.stop();
  const text = [
    `### A client with small photos beside ${crowd} others; beside the largest pictures it waits ${ratio.toFixed(2)} times as long`,
    table([rowOf('ordinary photos', ordinary), rowOf('the largest pictures', large)]),
    '### A good photo every second while 4 clients loop one file',
    table(rows),
  ].join('\n\n');
  return { text, failures };
}

function table(rows: readonly string[][]): string {
  return markdownTable(
    ['looped', 'requests', 'answers', 'small photos', 'ms, median', 'ms, longest', 'memory, MiB at most'],
    rows,
  );
}

function rowOf(name: string, { waitsMs, memory, sent, outcomes }: Phase): string[] {
  const figures = [medianOf(waitsMs), Math.max(...waitsMs), memory].map((figure) => figure.toFixed(0));
  return [name, String(sent), [...outcomes].join(', '), String(waitsMs.length), ...figures];
}

function medianOf(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

function drawnLargest(): Sharp {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${largest.width}" height="${largest.height}">
    <rect width="100%" height="100%" fill="#88a"/><circle cx="3000" cy="3000" r="2000" fill="#c62"/></svg>`;
  return sharp(Buffer.from(svg), { limitInputPixels: false }).flatten();
}

async function largestPictures(): Promise<Buffer[]> {
  return [
    await drawnLargest().png().toBuffer(),
    await drawnLargest().jpeg().toBuffer(),
    await drawnLargest().webp({ effort: 0 }).toBuffer(),
  ];
}

async function hostileFiles(): Promise<(readonly [string, Buffer])[]> {
  const named = async (name: string): Promise<readonly [string, Buffer]> => [
    name,
    await readFile(new URL(name, cases)),
  ];
  return [
    await named('thin-50000000x1.png'),
    await named('scans-1300-7000x7000.jpg'),
    await named('png-100-ztxt.png'),
    ['a progressive JPEG of 7000 × 7000', await drawnLargest().jpeg({ progressive: true }).toBuffer()],
    ['an interlaced PNG of 7000 × 7000', await drawnLargest().png({ progressive: true }).toBuffer()],
    ['a TIFF of 7000 × 7000', await drawnLargest().tiff({ compression: 'deflate' }).toBuffer()],
  ];
}
