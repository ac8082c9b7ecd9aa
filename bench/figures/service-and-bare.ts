import { barePlans } from '../bare/bare-plans.js';
import { findBestBare } from '../bare/best-bare.js';
import { readConfig } from '../../src/config.js';
import { createCaptionClient } from '../service/caption-client.js';
import { builtService, startService } from '../service/running-service.js';
import { servedModel } from '../service/served-model.js';
import { measureService } from '../service/service-window.js';
import type { Figure, FigureContext, FigureResult } from './figure.js';
import { report, summarise } from './service-and-bare-report.js';
import { type Round, runRound } from './service-and-bare-rounds.js';

const fewestRounds = 3;
const longestRoundMs = 24_000;
/** Part of the time that finds the best bare pipeline, in so many runs or fewer. */
const searchShare = 0.2;
const searchRuns = 21;
/** What getting going and finishing add to a round's counting. */
const roundOverhead = 1.4;
const warmUpMs = 3000;

/** The running service against the bare pipeline on the same photos. */
export const serviceAndBare: Figure = {
  name: 'service',
  help: 'the service over HTTP at concurrency 1, 8 and 32, and the bare pipeline: decoding and the four graphs',
  measure,
};

async function measure({ photos, seconds, progress }: FigureContext): Promise<FigureResult> {
  // The photos differ, but there are fewer of them than requests.
  const environment = { ...process.env, CACHE_SIZE: '0' };
  progress('starting the service');
  const service = await startService(builtService, environment);
  const model = await servedModel(service.url);
  const client = await createCaptionClient(service.url, photos);
  progress('warming up');
  // Alone, as libraries that the bare pipeline maps too would count half in the memory.
  const first = [];
  for (const concurrency of [1, 8, 32])
    first.push(await measureService(service, client, concurrency, warmUpMs));

  const measureUntil = performance.now() + 1000 * seconds;
  progress('looking for the best bare pipeline');
  const plans = await barePlans(readConfig(environment), model, photos);
  const bare = await findBestBare(plans, (1000 * seconds * searchShare) / searchRuns);
  progress(`it is ${bare.best.plan}, batches of ${bare.best.batchSize}`);

  const rounds: Round[] = [];
  let slowestMs = 0;
  const roundMs = Math.min(
    longestRoundMs,
    (1000 * seconds * (1 - searchShare)) / fewestRounds / roundOverhead,
  );
  while (rounds.length < fewestRounds || performance.now() + slowestMs < measureUntil) {
    const began = performance.now();
    const round = await runRound({ service, client, bare, roundMs, isBackwards: rounds.length % 2 === 1 });
    rounds.push(round);
    slowestMs = Math.max(slowestMs, performance.now() - began);
    progress(
      `round ${rounds.length}: ${round.at32.imagesPerSecond.toFixed(1)} images/s at 32, bare ${round.bare.imagesPerSecond.toFixed(1)}`,
    );
  }
  await bare.stop();
  await service.stop();
  const summary = summarise({
    model,
    photos: photos.length,
    startToReadyMs: service.startToReadyMs,
    memoryBytes: [...first, ...rounds.map(({ at32 }) => at32)].map(({ memoryBytes }) => memoryBytes),
    best: bare.best,
    tries: bare.tries,
    rounds,
  });
  return { text: report(summary), data: summary };
}
