import { mean } from '../measure/statistics.js';
import { type BarePipeline, startBarePipeline } from './bare-pipeline.js';
import { type BarePlan, batchSizes } from './bare-plans.js';

export interface BareTry {
  readonly plan: string;
  readonly batchSize: number;
  /** Mean of its runs. */
  readonly imagesPerSecond: number;
}

export interface BestBare {
  /** The plan and batch size that captioned most images a second. */
  readonly best: BareTry;
  readonly tries: readonly BareTry[];
  readonly pipeline: BarePipeline;
  /** What runs a single image as the service does, for its stage times. */
  readonly singlesPipeline: BarePipeline;
  stop(): Promise<void>;
}

interface Candidate {
  readonly plan: BarePlan;
  readonly pipeline: BarePipeline;
  readonly batchSize: number;
  readonly rates: number[];
}

/** How many of the fastest run again, so that one lucky run does not decide. */
const finalists = 3;

/**
 * Runs every plan with every batch size, and the fastest once more.
 * @param leastMs of each run
 */
export async function findBestBare(plans: readonly BarePlan[], leastMs: number): Promise<BestBare> {
  const started: { plan: BarePlan; pipeline: BarePipeline }[] = [];
  for (const plan of plans) started.push({ plan, pipeline: await startBarePipeline(plan.commands) });
  const candidates = batchSizes.flatMap((batchSize) =>
    started.map(({ plan, pipeline }): Candidate => ({ plan, pipeline, batchSize, rates: [] })),
  );
  const run = async (candidate: Candidate): Promise<void> => {
    const { imagesPerSecond } = await candidate.pipeline.runBatches(candidate.batchSize, leastMs);
    candidate.rates.push(imagesPerSecond);
  };
  const fastestFirst = (): Candidate[] => candidates.toSorted((a, b) => mean(b.rates) - mean(a.rates));
  for (const candidate of candidates) await run(candidate);
  for (const candidate of fastestFirst().slice(0, finalists)) await run(candidate);

  const [best] = fastestFirst().filter(({ rates }) => rates.length > 1);
  const singles = started.find(({ plan }) => plan.isForSingles);
  if (best === undefined || singles === undefined) throw new Error('there is no plan to run');
  const kept = new Set([best.pipeline, singles.pipeline]);
  for (const { pipeline } of started) if (!kept.has(pipeline)) await pipeline.stop();
  return {
    best: tryOf(best),
    tries: candidates.map(tryOf),
    pipeline: best.pipeline,
    singlesPipeline: singles.pipeline,
    async stop() {
      for (const pipeline of kept) await pipeline.stop();
    },
  };
}

function tryOf({ plan, batchSize, rates }: Candidate): BareTry {
  return { plan: plan.name, batchSize, imagesPerSecond: mean(rates) };
}
