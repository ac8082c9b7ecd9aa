import { readConfig } from '../../src/config.js';
import { readManifest } from '../../src/inference/bundle.js';
import { barePlans } from '../bare/bare-plans.js';
import { type BestBare, findBestBare } from '../bare/best-bare.js';
import { median } from '../measure/statistics.js';
import { markdownTable } from '../measure/table.js';
import { againstTarget } from '../measure/target.js';
import { BenchError, type Figure, type FigureContext, type FigureResult } from './figure.js';

const rounds = 3;
/** Parts of the time for the search of each precision. */
const searchShare = 0.25;
const searchRuns = 15;

/** The bare pipeline in integer arithmetic against the same in floating point, each at its best. */
export const int8AndW8: Figure = {
  name: 'int8',
  help: 'the bare pipeline in int8 against w8, each with its best processes, threads and batch size',
  measure,
};

async function measure({ photos, seconds, progress }: FigureContext): Promise<FigureResult> {
  const config = readConfig(process.env);
  const { id, version, precisions } = await readManifest(config.modelPath);
  for (const precision of ['int8', 'w8']) {
    if (!Object.hasOwn(precisions, precision))
      throw new BenchError(`the bundle ${id} ${version} has no ${precision}: MODEL_PATH names another one`);
  }
  const search = async (precision: string): Promise<BestBare> => {
    progress(`looking for the best pipeline in ${precision}`);
    const plans = await barePlans(config, { id, version, provider: 'cpu', precision }, photos);
    return findBestBare(plans, (1000 * seconds * searchShare) / searchRuns);
  };
  const int8 = await search('int8');
  const w8 = await search('w8');
  const windowMs = (1000 * seconds * (1 - 2 * searchShare)) / rounds / 2;
  const results: { int8: number; w8: number }[] = [];
  const run = async ({ pipeline, best }: BestBare) =>
    (await pipeline.runBatches(best.batchSize, windowMs)).imagesPerSecond;
  for (let round = 1; round <= rounds; round += 1) {
    results.push({ int8: await run(int8), w8: await run(w8) });
    progress(`round ${round} of ${rounds}`);
  }
  await int8.stop();
  await w8.stop();
  const ratio = median(results.map((round) => round.int8 / round.w8));
  const row = (name: 'int8' | 'w8', { best }: BestBare): string[] => [
    `${name}: ${best.plan}, batches of ${best.batchSize}`,
    median(results.map((round) => round[name])).toFixed(1),
  ];
  const text = [
    `${id} ${version}, bare pipeline on CPUs`,
    markdownTable(['', 'images/s'], [row('int8', int8), row('w8', w8)]),
    `int8 ÷ w8: ${againstTarget(ratio, { atLeast: 1.6 })}`,
  ].join('\n\n');
  return { text, data: { id, version, ratio, rounds: results, int8: int8.tries, w8: w8.tries } };
}
