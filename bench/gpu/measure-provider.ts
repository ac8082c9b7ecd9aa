import { readConfig } from '../../src/config.js';
import { startBarePipeline } from '../bare/bare-pipeline.js';
import { barePlans } from '../bare/bare-plans.js';
import { BenchError } from '../figures/figure.js';
import { median } from '../measure/statistics.js';
import { createCaptionClient } from '../service/caption-client.js';
import { builtService, startService } from '../service/running-service.js';
import { type ServedModel, servedModel } from '../service/served-model.js';
import { measureService } from '../service/service-window.js';

/** What one provider did with one bundle. */
export interface ProviderMeasurement {
  readonly model: ServedModel;
  readonly startToReadyMs: number;
  /** Decoding and the four graphs, without HTTP, for each batch size. */
  readonly bare: readonly BareRate[];
  /** The service over HTTP. */
  readonly service: {
    readonly concurrency: number;
    readonly imagesPerSecond: number;
    readonly p50Ms: number;
  };
  /** Over HTTP, one request at a time. */
  readonly singleP50Ms: number;
}

export interface BareRate {
  readonly batchSize: number;
  readonly imagesPerSecond: number;
  /** Median milliseconds of a batch in each graph. */
  readonly encodeMs: number;
  readonly mixupMs: number;
  readonly captionMs: number;
  readonly scoreMs: number;
}

export interface ProviderRun {
  readonly bundle: string;
  readonly provider: string;
  readonly photos: readonly string[];
  /** Of the bare pipeline; the largest is the service's largest batch. */
  readonly batchSizes: readonly number[];
  readonly concurrency: number;
  /** Least time of each of its measurements. */
  readonly secondsEach: number;
}

/** Software renderers take minutes. */
const longestRequestMs = 3_600_000;

/** @throws BenchError when the provider does not run the bundle, with what the service says of it */
export async function measureProvider(run: ProviderRun): Promise<ProviderMeasurement> {
  const { bundle, provider, photos, batchSizes, concurrency, secondsEach } = run;
  const leastMs = 1000 * secondsEach;
  const maxBatch = Math.max(...batchSizes);
  const environment = {
    ...process.env,
    MODEL_PATH: bundle,
    PROVIDER: provider,
    CACHE_SIZE: '0',
    MAX_BATCH_SIZE: String(maxBatch),
    REQUEST_TIMEOUT_MS: String(longestRequestMs),
  };
  const service = await startService(builtService, environment);
  const model = await servedModel(service.url);
  const client = await createCaptionClient(service.url, photos);
  const at1 = await measureService(service, client, 1, leastMs);
  const loaded = await measureService(service, client, concurrency, leastMs);
  await service.stop();

  const [plan] = await barePlans(readConfig(environment), model, photos);
  if (plan === undefined) throw new BenchError('the service has no plan of processes');
  const commands = plan.commands.map((each) => ({ ...each, command: { ...each.command, maxBatch } }));
  const pipeline = await startBarePipeline(commands);
  const bare: BareRate[] = [];
  for (const batchSize of batchSizes) {
    const { imagesPerSecond, timings } = await pipeline.runBatches(batchSize, leastMs);
    const of = (stage: 'encodeMs' | 'mixupMs' | 'captionMs' | 'scoreMs'): number =>
      median(timings.map((timing) => timing[stage]));
    bare.push({
      batchSize,
      imagesPerSecond,
      encodeMs: of('encodeMs'),
      mixupMs: of('mixupMs'),
      captionMs: of('captionMs'),
      scoreMs: of('scoreMs'),
    });
  }
  await pipeline.stop();
  return {
    model,
    startToReadyMs: service.startToReadyMs,
    bare,
    service: {
      concurrency,
      imagesPerSecond: loaded.imagesPerSecond,
      p50Ms: median(loaded.latenciesMs),
    },
    singleP50Ms: median(at1.latenciesMs),
  };
}
