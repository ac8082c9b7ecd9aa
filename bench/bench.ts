import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compare, type PhotoSize, photoSizes } from './figures/compare.js';
import { BenchError, type Figure } from './figures/figure.js';
import { int8AndW8 } from './figures/int8-and-w8.js';
import { memoryGrowth } from './figures/memory-growth.js';
import { overload } from './figures/overload.js';
import { protocols } from './figures/protocols.js';
import { pytorch } from './figures/pytorch.js';
import { twoBundles } from './figures/two-bundles.js';
import { serviceAndBare } from './figures/service-and-bare.js';
import { enlargedPhotos, usualLongSide } from './photos/enlarged-photos.js';

/** The first is measured when none is named. */
const figures: readonly [Figure, ...Figure[]] = [
  serviceAndBare,
  pytorch,
  int8AndW8,
  twoBundles,
  overload,
  memoryGrowth,
  protocols,
];

/** The photos for development lie beside the repository; this file is compiled to dist/bench. */
const defaultPhotos = fileURLToPath(new URL('../../../shared/data/images', import.meta.url));

const usage = `Usage: npm run bench -- [options] [figure…]
       npm run bench -- [options] compare REF      this checkout ÷ a commit
       npm run bench -- [options] compare A B      commit A ÷ commit B

Figures, [${figures[0].name}] without one, all but bundles with "all":
${figures.map(({ name, help }) => `  ${name.padEnd(13)}  ${help}`).join('\n')}

Options:
  --photos DIR   take photos from this folder   [../shared/data/images beside the repository]
  --count N      distinct photos, at least 64   [400]
  --long-side N  of the photos, in pixels       [${usualLongSide}]
  --seconds N    time to measure each figure    [240]
  --requests N   of memory: requests sent in all; a tenth of them is what the rest is compared with   [20000]
  --photo-size S of compare: ${Object.keys(photoSizes).join(', ')}; may be given several times   [1024]
  --rounds N     of compare: pairs of runs   [5]
  --bundle DIR   of bundles: the other bundle
  --json FILE    write all numbers there too
  --help

compare builds each commit in a temporary folder, with the packages of its lock file, and runs both versions in turn, at
concurrency 32. --seconds are shared by the runs of one size.

Settings of the service, such as WORKERS and MAX_BATCH_SIZE, are taken from the environment, and for pytorch
PYTHON, a Python with models/ installed, and RUN, the run folder of a training whose weights it measures.
`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      photos: { type: 'string', default: defaultPhotos },
      count: { type: 'string', default: '400' },
      'long-side': { type: 'string', default: String(usualLongSide) },
      seconds: { type: 'string', default: '240' },
      requests: { type: 'string', default: '20000' },
      'photo-size': { type: 'string', multiple: true, default: ['1024'] },
      rounds: { type: 'string', default: '5' },
      bundle: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return;
  }
  const seconds = wholeNumber('--seconds', values.seconds);
  const requests = wholeNumber('--requests', values.requests);
  const count = wholeNumber('--count', values.count);
  const progress = (line: string): void => {
    console.error(`bench: ${line}`);
  };
  const data: Record<string, object> = {};
  const [command, ...refs] = positionals;
  if (command === 'compare') {
    const result = await compare({
      refs: comparedRefs(refs),
      sizes: values['photo-size'].map(photoSize),
      rounds: wholeNumber('--rounds', values.rounds),
      seconds,
      photoFolder: values.photos,
      photoCount: count,
      progress,
    });
    data['compare'] = result.data;
    console.log(result.text);
  } else {
    const wanted = positionals.length === 0 ? [figures[0]] : positionals.flatMap(figuresNamed);
    const longSide = wholeNumber('--long-side', values['long-side']);
    progress(`preparing photos from ${values.photos}`);
    const photos = await enlargedPhotos(values.photos, count, longSide);
    console.log(`Photos with a long side of ${longSide} pixels`);
    for (const { name, measure } of wanted) {
      const result = await measure({ photos, seconds, requests, otherBundle: values.bundle, progress });
      data[name] = result.data;
      console.log(result.text);
    }
  }
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(data, undefined, 2)}\n`);
}

/** One reference is compared with this checkout, two with each other. */
function comparedRefs(refs: readonly string[]): readonly [string | undefined, string] {
  const [first, second, ...others] = refs;
  if (first === undefined || others.length > 0) throw new BenchError('compare takes one or two commits');
  return second === undefined ? [undefined, first] : [first, second];
}

function photoSize(name: string): PhotoSize {
  const size = name.toLowerCase();
  if (isPhotoSize(size)) return size;
  throw new BenchError(`--photo-size takes ${Object.keys(photoSizes).join(', ')}`);
}

function isPhotoSize(name: string): name is PhotoSize {
  return Object.hasOwn(photoSizes, name);
}

function figuresNamed(name: string): readonly Figure[] {
  // Another bundle is nowhere unless it is named.
  if (name === 'all') return figures.filter((figure) => figure !== twoBundles);
  const figure = figures.find((candidate) => candidate.name === name);
  if (figure === undefined) throw new BenchError(`there is no figure ${name}; --help lists what there is`);
  return [figure];
}

function wholeNumber(option: string, text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new BenchError(`${option} takes a whole number`);
  return Number(text);
}

try {
  await main();
} catch (error) {
  const isExplained = error instanceof BenchError || (error instanceof TypeError && 'code' in error);
  console.error(
    `bench: ${error instanceof Error ? (isExplained ? error.message : error.stack) : String(error)}`,
  );
  // Ends the processes that are still running, too.
  process.exit(1);
}
