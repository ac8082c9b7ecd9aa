import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { corpus } from './torture/corpus.js';
import { corruptedImages } from './torture/corrupted-images.js';
import { eventLoop } from './torture/event-loop.js';
import { fairness } from './torture/fairness.js';
import { hostile } from './torture/hostile.js';
import { mixedLoad } from './torture/mixed-load.js';
import { slowClients } from './torture/slow-clients.js';
import type { Torture } from './torture/torture.js';

const tortures: readonly Torture[] = [
  corpus,
  corruptedImages,
  fairness,
  mixedLoad,
  slowClients,
  hostile,
  eventLoop,
];

/** The photos for development lie beside the repository; this file is compiled to dist/bench. */
const defaultPhotos = fileURLToPath(new URL('../../../shared/data/images', import.meta.url));

const usage = `Usage: npm run torture -- [options] [torture…]

Tortures, all of them when none is named:
${tortures.map(({ name, help }) => `  ${name.padEnd(9)}  ${help}`).join('\n')}

Options:
  --images N    corrupted images        [5000]
  --seconds N   of mixed load, and of hostile clients   [600]
  --clients N   slow clients            [500]
  --short       200 images, 20 seconds, 100 clients: a check that all of it still works
  --seed N      of what is random       [1]
  --photos DIR  take photos from there  [../shared/data/images beside the repository, or drawn ones]
  --help

Ends with 1 when the service did not stand it. Settings of the service are taken from the environment.
`;

const full = { images: 5000, seconds: 600, clients: 500 };
const short = { images: 200, seconds: 20, clients: 100 };

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      images: { type: 'string' },
      seconds: { type: 'string' },
      clients: { type: 'string' },
      short: { type: 'boolean', default: false },
      seed: { type: 'string', default: '1' },
      photos: { type: 'string', default: defaultPhotos },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return;
  }
  const sizes = values.short ? short : full;
  const context = {
    photoFolder: values.photos,
    seed: wholeNumber('--seed', values.seed, 1),
    images: wholeNumber('--images', values.images, sizes.images),
    seconds: wholeNumber('--seconds', values.seconds, sizes.seconds),
    clients: wholeNumber('--clients', values.clients, sizes.clients),
    progress: (line: string) => {
      console.error(`torture: ${line}`);
    },
  };
  const wanted = positionals.length === 0 ? tortures : positionals.map(tortureNamed);
  for (const { name, inflict } of wanted) {
    const began = performance.now();
    const { text, failures } = await inflict(context);
    console.log(`${text}\n`);
    console.log(
      `${name}: ${failures.length === 0 ? 'stood' : 'NOT stood'}, in ${((performance.now() - began) / 1000).toFixed(0)} s\n`,
    );
    for (const failure of failures) console.error(`torture: ${name}: ${failure}`);
    if (failures.length > 0) process.exitCode = 1;
  }
}

function tortureNamed(name: string): Torture {
  const torture = tortures.find((candidate) => candidate.name === name);
  if (torture === undefined) throw new Error(`there is no torture ${name}; --help lists what there is`);
  return torture;
}

function wholeNumber(option: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new Error(`${option} takes a whole number`);
  return Number(text);
}

try {
  await main();
} catch (error) {
  console.error(`torture: ${error instanceof Error ? error.message : String(error)}`);
  // Ends the processes that are still running, too.
  process.exit(1);
}
