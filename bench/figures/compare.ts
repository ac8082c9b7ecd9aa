import { markdownTable } from '../measure/table.js';
import { median } from '../measure/statistics.js';
import { enlargedPhotos } from '../photos/enlarged-photos.js';
import { createCaptionClient } from '../service/caption-client.js';
import { buildVersion, thisVersion, type Version } from '../service/other-version.js';
import { type RunningService, startService } from '../service/running-service.js';
import { servedModel } from '../service/served-model.js';
import { measureService } from '../service/service-window.js';
import type { FigureResult } from './figure.js';

/** Long sides of photos, in pixels, by the name of the size. */
export const photoSizes = { '256': 256, '1024': 1024, '12mp': 4000 } as const;
export type PhotoSize = keyof typeof photoSizes;

export interface CompareOptions {
  /** What is compared: a git reference, or undefined for this checkout. */
  readonly refs: readonly [string | undefined, string];
  readonly sizes: readonly PhotoSize[];
  /** Pairs of runs for each size; the order within a pair alternates. */
  readonly rounds: number;
  /** Seconds of measuring for each size, starts and warm-ups not included. */
  readonly seconds: number;
  readonly photoFolder: string;
  readonly photoCount: number;
  readonly progress: (line: string) => void;
}

/** A version that is compared, and the model it serves. */
interface Side extends Version {
  readonly model: string;
}

/** What one run of a version showed. */
interface Run {
  /** At concurrency 32. */
  readonly imagesPerSecond: number;
  /** Latency at concurrency 1, in ms. */
  readonly p50Ms: number;
}

interface Round {
  readonly first: Run;
  readonly second: Run;
}

interface SizeResult {
  readonly size: PhotoSize;
  /** Medians of the rounds, of the first version ÷ the second. */
  readonly ratio: number;
  readonly p50Ratio: number;
  readonly rounds: readonly Round[];
}

const concurrency = 32;
/** Part of a run that is spent at concurrency 1. */
const partAtOne = 1 / 4;
const warmUpMs = 3000;

/**
 * Compares two versions of the service, each built from its own code and run with its own embedded bundle, on this
 * machine in one run: images/s at concurrency 32, and p50 at concurrency 1, of the first ÷ of the second, for each
 * size of photos.
 *
 * @throws BenchError when a version does not build, does not start, or refuses photos
 */
export async function compare(options: CompareOptions): Promise<FigureResult> {
  const { refs, sizes, progress } = options;
  const built: Version[] = [];
  const build = async (ref: string | undefined): Promise<Side> => {
    progress(`building ${ref ?? 'this checkout'}`);
    const version = ref === undefined ? thisVersion : await buildVersion(ref);
    built.push(version);
    return { ...version, model: await withService(version, modelOf) };
  };
  try {
    const first = await build(refs[0]);
    const second = await build(refs[1]);
    const results: SizeResult[] = [];
    for (const size of sizes) results.push(await compareAt(size, first, second, options));
    return {
      text: textOf(results, first, second),
      data: {
        concurrency,
        first: { name: first.name, model: first.model },
        second: { name: second.name, model: second.model },
        sizes: results,
      },
    };
  } finally {
    for (const version of built) await version.remove();
  }
}

async function compareAt(
  size: PhotoSize,
  first: Side,
  second: Side,
  { rounds: count, seconds, photoFolder, photoCount, progress }: CompareOptions,
): Promise<SizeResult> {
  progress(`preparing photos of ${nameOf(size)} from ${photoFolder}`);
  const photos = await enlargedPhotos(photoFolder, photoCountOf(size, photoCount), photoSizes[size]);
  const windowMs = (1000 * seconds) / count / 2;
  const run = (version: Version): Promise<Run> =>
    withService(version, (service) => measure(service, photos, windowMs));
  const rounds: Round[] = [];
  for (let number = 1; number <= count; number += 1) {
    // The order alternates: the second run of a pair meets a warmer machine, or a busier one.
    const isFirstAhead = number % 2 === 1;
    const ahead = await run(isFirstAhead ? first : second);
    const behind = await run(isFirstAhead ? second : first);
    const round = isFirstAhead ? { first: ahead, second: behind } : { first: behind, second: ahead };
    rounds.push(round);
    const rates = `${round.first.imagesPerSecond.toFixed(1)} ÷ ${round.second.imagesPerSecond.toFixed(1)} images/s`;
    progress(`${nameOf(size)}, round ${number} of ${count}: ${rates}`);
  }
  return {
    size,
    ratio: median(rounds.map(ratioOf)),
    p50Ratio: median(rounds.map(p50RatioOf)),
    rounds,
  };
}

async function measure(service: RunningService, photos: readonly string[], windowMs: number): Promise<Run> {
  const client = await createCaptionClient(service.url, photos);
  await measureService(service, client, concurrency, warmUpMs);
  const { imagesPerSecond } = await measureService(service, client, concurrency, windowMs * (1 - partAtOne));
  const { latenciesMs } = await measureService(service, client, 1, windowMs * partAtOne);
  return { imagesPerSecond, p50Ms: median(latenciesMs) };
}

/** Only one service runs at a time: an idle one takes memory, and its heartbeats a little time. */
async function withService<T>({ main }: Version, use: (service: RunningService) => Promise<T>): Promise<T> {
  const service = await startService(main, { ...process.env, CACHE_SIZE: '0' });
  try {
    return await use(service);
  } finally {
    await service.stop();
  }
}

async function modelOf({ url }: RunningService): Promise<string> {
  const { id, version, precision } = await servedModel(url);
  return `${id} ${version}, ${precision}`;
}

/** Of 12 megapixels a file has 3 MB, and all are held in memory: twice as many as are in flight are enough. */
function photoCountOf(size: PhotoSize, wanted: number): number {
  return size === '12mp' ? Math.min(wanted, 2 * concurrency) : wanted;
}

function ratioOf({ first, second }: Round): number {
  return first.imagesPerSecond / second.imagesPerSecond;
}

function p50RatioOf({ first, second }: Round): number {
  return first.p50Ms / second.p50Ms;
}

function nameOf(size: PhotoSize): string {
  return size === '12mp' ? '12 MP' : `${size} px`;
}

function textOf(results: readonly SizeResult[], first: Side, second: Side): string {
  const middle = (rounds: readonly Round[], side: keyof Round, of: keyof Run): string =>
    median(rounds.map((round) => round[side][of])).toFixed(1);
  const row = (what: string, rounds: readonly Round[], of: keyof Run, ratio: (round: Round) => number) => [
    what,
    middle(rounds, 'first', of),
    middle(rounds, 'second', of),
    median(rounds.map(ratio)).toFixed(3),
    rounds.map((round) => ratio(round).toFixed(2)).join(', '),
  ];
  const table = markdownTable(
    ['photos', first.name, second.name, `${first.name} ÷ ${second.name}`, 'rounds'],
    results.flatMap(({ size, rounds }) => [
      row(`${nameOf(size)}: images/s`, rounds, 'imagesPerSecond', ratioOf),
      row(`${nameOf(size)}: p50 in ms, concurrency 1`, rounds, 'p50Ms', p50RatioOf),
    ]),
  );
  const models = [first, second].map(({ name, model }) => `${name} serves ${model}`).join('; ');
  return `Throughput at concurrency ${concurrency}; ${models}\n\n${table}`;
}
