import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import { readConfig } from '../../src/config.js';
import { readManifest, choosePrecision } from '../../src/inference/bundle.js';
import { barePlans } from '../bare/bare-plans.js';
import { findBestBare } from '../bare/best-bare.js';
import { mean } from '../measure/statistics.js';
import { markdownTable } from '../measure/table.js';
import { againstTarget } from '../measure/target.js';
import { BenchError, type Figure, type FigureContext, type FigureResult } from './figure.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));

const BaselineSchema = Type.Object({
  imagesPerSecond: Type.Number(),
  batchSize: Type.Number(),
  threads: Type.Number(),
  torch: Type.String(),
});
type Baseline = Static<typeof BaselineSchema>;

/** Parts of the time: the search of the best bare pipeline, PyTorch, and the pipeline before and after it. */
const share = { search: 0.2, pytorch: 0.4, bare: 0.2 };
const searchRuns = 21;

/** The bare pipeline against PyTorch with the same network in fp32. */
export const pytorch: Figure = {
  name: 'pytorch',
  help: 'the bare pipeline against PyTorch with the same network in fp32; needs PYTHON and RUN',
  measure,
};

async function measure({ photos, seconds, progress }: FigureContext): Promise<FigureResult> {
  const { PYTHON: python, RUN: run } = process.env;
  if (python === undefined || run === undefined) {
    throw new BenchError(
      'PYTHON must name a Python with the packages of models/, and RUN the run folder whose weights are in the bundle',
    );
  }
  const config = readConfig(process.env);
  const manifest = await readManifest(config.modelPath);
  const precision = choosePrecision(manifest, 'cpu');
  const { id, version } = manifest;
  progress('looking for the best bare pipeline');
  const plans = await barePlans(config, { id, version, provider: 'cpu', precision }, photos);
  const bare = await findBestBare(plans, (1000 * seconds * share.search) / searchRuns);
  const runBare = async () =>
    (await bare.pipeline.runBatches(bare.best.batchSize, 1000 * seconds * share.bare)).imagesPerSecond;
  const before = await runBare();
  progress('running PyTorch');
  const baseline = await runBaseline(python, run, photos, Math.max(1, Math.round(seconds * share.pytorch)));
  const after = await runBare();
  await bare.stop();

  const imagesPerSecond = mean([before, after]);
  const ratio = imagesPerSecond / baseline.imagesPerSecond;
  const text = [
    `${id} ${version}`,
    markdownTable(
      ['', 'images/s'],
      [
        [
          `bare pipeline, ${precision}: ${bare.best.plan}, batches of ${bare.best.batchSize}`,
          imagesPerSecond.toFixed(1),
        ],
        [
          `PyTorch ${baseline.torch}, fp32: ${baseline.threads} threads, batches of ${baseline.batchSize}`,
          baseline.imagesPerSecond.toFixed(1),
        ],
      ],
    ),
    `bare pipeline ÷ PyTorch: ${againstTarget(ratio, { atLeast: 2.5 })}`,
  ].join('\n\n');
  return { text, data: { id, version, precision, ratio, before, after, baseline, best: bare.best } };
}

/** @throws BenchError when it ends with an error, whose words go to standard error */
async function runBaseline(
  python: string,
  run: string,
  photos: readonly string[],
  seconds: number,
): Promise<Baseline> {
  const options = {
    '--config': 'models/configs/embedded.toml',
    '--run': run,
    '--photos': dirname(photos[0] ?? ''),
    '--count': String(photos.length),
    '--seconds': String(seconds),
  };
  const child = spawn(python, ['bench/pytorch_baseline.py', ...Object.entries(options).flat()], {
    cwd: root,
    env: { ...process.env, PYTHONPATH: 'models' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // Both are waited for at once: output is read while it is written.
  const [output, end] = await Promise.all([readText(child.stdout), once(child, 'close')]).catch(
    (cause: unknown) => {
      throw new BenchError(`${python} could not be started`, { cause });
    },
  );
  if (end[0] !== 0) throw new BenchError(`bench/pytorch_baseline.py ended with exit code ${String(end[0])}`);
  const printed: unknown = JSON.parse(output);
  return Value.Parse(BaselineSchema, printed);
}
