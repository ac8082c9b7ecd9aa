import type { BatchesResult } from '../bare/bare-pipeline.js';
import type { BestBare } from '../bare/best-bare.js';
import type { BareTiming } from '../bare/messages.js';
import type { CaptionClient } from '../service/caption-client.js';
import type { RunningService } from '../service/running-service.js';
import { measureService, type ServiceWindow } from '../service/service-window.js';

/** Everything once, each figure next to the one that it is compared with. */
export interface Round {
  readonly at1: ServiceWindow;
  readonly at8: ServiceWindow;
  readonly at32: ServiceWindow;
  /** The bare pipeline at its best. */
  readonly bare: BatchesResult;
  /** Single images in the bare pipeline, with the threads that the service gives to an image that is alone. */
  readonly singles: readonly BareTiming[];
}

export interface RoundOptions {
  readonly service: RunningService;
  readonly client: CaptionClient;
  readonly bare: BestBare;
  /** Milliseconds of counting, in all; getting going and finishing come on top. */
  readonly roundMs: number;
  /** Every other round: a machine that gets faster or slower then favours neither side. */
  readonly isBackwards: boolean;
}

/** Parts of a round's time: most for the two whose ratio is the headline. */
const share = { at1: 0.12, at8: 0.16, at32: 0.3, bare: 0.3, singles: 0.12 };

export async function runRound(options: RoundOptions): Promise<Round> {
  const { service, client, bare, roundMs, isBackwards } = options;
  const at8 = await measureService(service, client, 8, share.at8 * roundMs);
  const [batches, at32] = await inTurn(
    isBackwards,
    () => bare.pipeline.runBatches(bare.best.batchSize, share.bare * roundMs),
    () => measureService(service, client, 32, share.at32 * roundMs),
  );
  const [singles, at1] = await inTurn(
    isBackwards,
    () => bare.singlesPipeline.runSingles(share.singles * roundMs),
    () => measureService(service, client, 1, share.at1 * roundMs),
  );
  return { at1, at8, at32, bare: batches, singles };
}

async function inTurn<A, B>(
  isBackwards: boolean,
  first: () => Promise<A>,
  second: () => Promise<B>,
): Promise<[A, B]> {
  if (!isBackwards) return [await first(), await second()];
  const b = await second();
  return [await first(), b];
}
