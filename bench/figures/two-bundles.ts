import { readConfig } from '../../src/config.js';
import { readManifest, choosePrecision } from '../../src/inference/bundle.js';
import { type BarePipeline, startBarePipeline } from '../bare/bare-pipeline.js';
import { barePlans } from '../bare/bare-plans.js';
import { median } from '../measure/statistics.js';
import { markdownTable } from '../measure/table.js';
import { againstTarget } from '../measure/target.js';
import { BenchError, type Figure, type FigureContext, type FigureResult } from './figure.js';

const rounds = 3;
const batchSizes = [1, 8] as const;

/** Images/s, one of each round. */
interface Rates {
  readonly batchSize: number;
  readonly ours: number[];
  readonly other: number[];
}

/** What a new model costs beside an older one, in the same code. */
export const twoBundles: Figure = {
  name: 'bundles',
  help: 'the bare pipeline with the bundle of MODEL_PATH against that of --bundle, in batches of 1 and 8',
  measure,
};

async function measure({ photos, seconds, otherBundle, progress }: FigureContext): Promise<FigureResult> {
  if (otherBundle === undefined) throw new BenchError('bundles needs another bundle: --bundle DIR');
  const config = readConfig(process.env);
  const ours = await start(config.modelPath, photos);
  const other = await start(otherBundle, photos);
  const windowMs = (1000 * seconds) / rounds / batchSizes.length / 2;
  const rates = batchSizes.map((batchSize): Rates => ({ batchSize, ours: [], other: [] }));
  for (let round = 1; round <= rounds; round += 1) {
    for (const rate of rates) {
      rate.ours.push((await ours.pipeline.runBatches(rate.batchSize, windowMs)).imagesPerSecond);
      rate.other.push((await other.pipeline.runBatches(rate.batchSize, windowMs)).imagesPerSecond);
    }
    progress(`round ${round} of ${rounds}`);
  }
  await ours.pipeline.stop();
  await other.pipeline.stop();
  const results = rates.map((rate) => ({
    ...rate,
    ratio: median(rate.ours.map((value, round) => value / (rate.other[round] ?? NaN))),
  }));
  const text = [
    `${ours.name} and ${other.name}, bare pipeline on CPUs, images/s`,
    markdownTable(
      ['batches of', ours.name, other.name],
      results.map((rate) => [
        String(rate.batchSize),
        median(rate.ours).toFixed(1),
        median(rate.other).toFixed(1),
      ]),
    ),
    ...results.map(
      ({ batchSize, ratio }) =>
        `${ours.name} ÷ ${other.name}, batches of ${batchSize}: ${againstTarget(ratio, { atLeast: 0.8 })}`,
    ),
  ].join('\n\n');
  return { text, data: { ours: ours.name, other: other.name, results } };
}

/** All cores for one image, or one batch, at a time. */
async function start(
  modelPath: string,
  photos: readonly string[],
): Promise<{ name: string; pipeline: BarePipeline }> {
  const manifest = await readManifest(modelPath);
  const { id, version } = manifest;
  const precision = choosePrecision(manifest, 'cpu');
  const config = readConfig({ ...process.env, MODEL_PATH: modelPath });
  const plans = await barePlans(config, { id, version, provider: 'cpu', precision }, photos);
  const plan = plans.find(({ isForSingles }) => isForSingles);
  if (plan === undefined) throw new Error('there is no plan for single images');
  return { name: `${id} ${version}`, pipeline: await startBarePipeline(plan.commands) };
}
