/**
 * The command line on an archive: memory over many images, and the recall of the search. `npm run bench` measures the service.
 */
import { randomBytes } from 'node:crypto';
import { copyFile, link, mkdir, mkdtemp, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { parseCaptionOptions } from '../src/captioner/options.js';
import type { CaptionResult } from '../src/captioner/results.js';
import { captionLibrary } from '../src/cli/caption-library.js';
import { indexFolder, indexPath } from '../src/cli/index-folder.js';
import { collectInputs } from '../src/cli/inputs.js';
import { type LocalModel, withLocalModel } from '../src/cli/local-model.js';
import { readConfig } from '../src/config.js';
import { readManifest } from '../src/inference/bundle.js';
import { SearchIndex } from '../src/library/search-index.js';
import { BenchError } from './figures/figure.js';
import { median } from './measure/statistics.js';
import { markdownTable } from './measure/table.js';
import { againstTarget } from './measure/target.js';
import { enlargedPhotos } from './photos/enlarged-photos.js';
import { memoryOfTree } from './service/process-memory.js';

const usage = `Usage: node dist/bench/library.js memory|recall|vectors [options]

  memory    caption --out over --images names of small photos: memory of all processes; the first --real are captioned by the
            model, the others answered from a wait; then the same with --resume
  recall    text → image recall at 10 over the validation photos, through index and search, against the exact one
  vectors   the time of a search over --images random vectors

  --data DIR    [../shared/data beside the repository]
  --images N    [100000]
  --real N      [5000]
`;

const defaultData = fileURLToPath(new URL('../../../shared/data', import.meta.url));
const config = readConfig({ ...process.env, CACHE_SIZE: '0', LOG_LEVEL: 'error' });

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      data: { type: 'string', default: defaultData },
      images: { type: 'string', default: '100000' },
      real: { type: 'string', default: '5000' },
    },
  });
  const [what] = positionals;
  const folder = await mkdtemp(join(tmpdir(), 'pcm-caption-bench-library-'));
  try {
    if (what === 'memory') await memory(folder, values.data, Number(values.images), Number(values.real));
    else if (what === 'recall') await recall(folder, values.data);
    else if (what === 'vectors') await vectors(folder, Number(values.images));
    else throw new BenchError(usage);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The wait that stands for inference; 48 images at a time make 2,400 images/s of it. */
const waitMs = 20;

async function memory(folder: string, data: string, images: number, real: number): Promise<void> {
  const photos = await enlargedPhotos(join(data, 'images'), 400, 256);
  const archive = join(folder, 'photos');
  for (let start = 0; start < images; start += 1000) {
    const below = join(archive, String(start));
    await mkdir(below, { recursive: true });
    for (let index = start; index < Math.min(start + 1000, images); index++) {
      const photo = photos[index % photos.length];
      if (photo !== undefined) await linkOrCopy(photo, join(below, `${index}.jpg`));
    }
  }
  const { id, version, decoding } = await readManifest(config.modelPath);
  const samples: { images: number; bytes: number }[] = [];
  const every = Math.ceil(images / 50);
  let asked = 0;
  let last: CaptionResult | undefined;

  const start = <T>(
    _: unknown,
    count: number,
    work: (model: LocalModel, signal: AbortSignal) => Promise<T>,
  ): Promise<T> =>
    withLocalModel(config, count, (model, signal) =>
      work(
        {
          ...model,
          answerAll: (inputs, ask, own) =>
            model.answerAll(
              inputs,
              async (captioner, image, context) => {
                const caption: typeof captioner.caption = async (...args) => {
                  asked += 1;
                  if (asked <= real || last === undefined) last = await captioner.caption(...args);
                  else await new Promise((resolve) => setTimeout(resolve, waitMs));
                  return last;
                };
                const answer = await ask({ ...captioner, caption }, image, context);
                if (asked % every === 0) samples.push({ images: asked, bytes: await memoryNow() });
                return answer;
              },
              own,
            ),
        },
        signal,
      ),
    );

  const began = performance.now();
  const out = join(folder, 'out.jsonl');
  for (const resume of [false, true]) {
    await captionLibrary(config, {
      inputs: await collectInputs([archive]),
      captionOptions: parseCaptionOptions({ texts: [], members: {} }, decoding.maxLength),
      library: { out, resume, existing: 'skip' },
      model: { id, version },
      start,
    });
    if (!resume) samples.push({ images, bytes: await memoryNow() });
  }
  const mebibytes = (bytes: number): string => (bytes / 1024 ** 2).toFixed(0);
  const tenth = (from: number): number =>
    median(
      samples
        .filter((sample) => sample.images > from * images && sample.images <= (from + 0.1) * images)
        .map(({ bytes }) => bytes),
    );
  const early = tenth(0.1);
  const late = tenth(0.9);
  console.log(
    [
      markdownTable(
        ['images', 'MiB (sum of PSS)'],
        samples
          .filter((_, index) => index % 5 === 0)
          .map((each) => [String(each.images), mebibytes(each.bytes)]),
      ),
      `${real} of ${images} images by the model, the others from a wait of ${waitMs} ms; ${((performance.now() - began) / 1000).toFixed(0)} s; out.jsonl ${mebibytes((await stat(out)).size)} MiB`,
      `memory of the last tenth ÷ that of the second: ${againstTarget(late / early, { atMost: 1.05 })}`,
      `with --resume over all that is done: ${mebibytes(await memoryNow())} MiB`,
    ].join('\n\n'),
  );
}

async function memoryNow(): Promise<number> {
  const bytes = await memoryOfTree(process.pid);
  if (bytes === undefined) throw new BenchError('only Linux tells the memory that processes share');
  return bytes;
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  await link(from, to).catch(() => copyFile(from, to));
}

const Row = Type.Object({ image: Type.String(), split: Type.String(), captions: Type.Array(Type.String()) });
const best = 10;
/** Texts of one run of the model. */
const textsPerRun = 64;

async function recall(folder: string, data: string): Promise<void> {
  const rows = (await readFile(join(data, 'captions.jsonl'), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => Value.Parse(Row, JSON.parse(line)))
    .filter(({ split }) => split === 'val');
  for (const { image } of rows) await symlink(join(data, 'images', image), join(folder, basename(image)));
  await indexFolder(config, folder, { captions: false });
  const { id, version, dimensions } = await readManifest(config.modelPath);
  const index = await SearchIndex.open(indexPath(folder, undefined), {
    id,
    version,
    dimensions: dimensions.embedding,
  });

  const queries = rows.flatMap(({ image, captions }) => captions.map((text) => ({ image, text })));
  const [photos, texts] = await withLocalModel(config, rows.length, async (model, signal) => {
    const vectors = new Map<string, Float32Array>();
    const inputs = rows.map(({ image }) => ({ name: join(folder, image) }));
    const answers = model.answerAll(
      inputs,
      (captioner, { bytes }, context) => captioner.embedImage({ kind: 'bytes', bytes }, context),
      signal,
    );
    for await (const answer of answers) {
      if ('error' in answer) throw answer.error;
      vectors.set(basename(answer.file), answer.result);
    }
    const embedded: Float32Array[] = [];
    for (let start = 0; start < queries.length; start += textsPerRun) {
      const part = queries.slice(start, start + textsPerRun).map(({ text }) => text);
      embedded.push(
        ...(await model.run((captioner, context) => captioner.embedTexts(part, context), signal)),
      );
    }
    return [vectors, embedded] as const;
  });

  const found = { search: 0, exact: 0 };
  const times: number[] = [];
  for (const [number, { image }] of queries.entries()) {
    const query = texts[number] ?? new Float32Array();
    const began = performance.now();
    const hits = index.search(query, { limit: best });
    times.push(performance.now() - began);
    if (hits.some(({ name }) => name === image)) found.search += 1;
    const own = cosine(query, photos.get(image));
    const better = [...photos.values()].filter((photo) => cosine(query, photo) > own).length;
    if (better < best) found.exact += 1;
  }
  index.close();
  const search = found.search / queries.length;
  const exact = found.exact / queries.length;
  console.log(
    [
      markdownTable(
        [`${rows.length} photos, ${queries.length} captions`, `recall at ${best}`],
        [
          ['search', search.toFixed(4)],
          ['exact, computed apart', exact.toFixed(4)],
        ],
      ),
      `difference: ${againstTarget(Math.abs(search - exact), { atMost: 0.01 })}`,
      `a search: ${median(times).toFixed(1)} ms`,
    ].join('\n\n'),
  );
}

function cosine(a: Float32Array, b: Float32Array | undefined): number {
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += (a[index] ?? 0) * (b?.[index] ?? 0);
  return sum;
}

async function vectors(folder: string, images: number): Promise<void> {
  const { id, version, dimensions } = await readManifest(config.modelPath);
  const path = join(folder, 'index.db');
  const index = await SearchIndex.openForWriting(path, { id, version, dimensions: dimensions.embedding });
  const began = performance.now();
  for (let number = 0; number < images; number++) {
    index.put({
      name: `${number}.jpg`,
      bytes: 0,
      modifiedMs: 0,
      sha256: randomBytes(32).toString('hex'),
      embedding: randomVector(dimensions.embedding),
      caption: 'A dog runs on a beach',
      tags: ['dog', 'beach'],
    });
  }
  const written = performance.now() - began;
  const times = Array.from({ length: 5 }, () => {
    const searched = performance.now();
    index.search(randomVector(dimensions.embedding), { limit: best });
    return performance.now() - searched;
  });
  index.close();
  console.log(
    `${images} vectors of ${dimensions.embedding}: ${((await stat(path)).size / 1024 ** 2).toFixed(0)} MiB, written in ${(written / 1000).toFixed(0)} s, a search ${median(times).toFixed(0)} ms`,
  );
}

function randomVector(dimensions: number): Float32Array {
  const values = Float32Array.from({ length: dimensions }, () => Math.random() - 0.5);
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof BenchError ? error.message : error);
  process.exit(1);
}
