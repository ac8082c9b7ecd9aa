import type { Registry } from 'prom-client';
import { answerSize } from './captioner/cached-answer.js';
import { type Captioner, createCaptioner, type OnStage } from './captioner/captioner.js';
import type { Config } from './config.js';
import { DecodePool } from './images/decode-pool.js';
import { createImageFetcher } from './images/fetch-image.js';
import type { ReloadableScheduler } from './scheduler/hot-reload.js';
import { dropReasonOf } from './scheduler/metrics.js';
import { createMemoryMetric } from './resident-memory.js';
import { ResultCache } from './scheduler/result-cache.js';
import { startScheduler } from './scheduler/start-scheduler.js';
import type { EngineLogger } from './scheduler/worker-process.js';

/** The product without an adapter: what the HTTP server and the command line are built on. */
export interface RunningCaptioner {
  readonly captioner: Captioner;
  readonly scheduler: ReloadableScheduler;
  /** Finishes what was admitted, within the grace, and ends all processes. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts the inference processes and joins them with the image decoder and the result cache; resolves once they are
 * warm. Throws what `startScheduler` throws.
 */
export async function startCaptioner(
  config: Config,
  logger: EngineLogger,
  registry: Registry,
  onStage?: OnStage,
): Promise<RunningCaptioner> {
  const scheduler = await startScheduler(config, logger, registry);
  const cache =
    config.cacheSize === 0
      ? undefined
      : new ResultCache({
          maxSize: config.cacheSize,
          sizeOf: answerSize,
          onLeave: (signal) => {
            scheduler.metrics.dropped(dropReasonOf(signal), 1);
          },
          registry,
        });
  const { urlImageHosts: hosts, urlImageNetworks: networks } = config;
  const decoder = new DecodePool(config, logger, (decodeMs) => {
    scheduler.metrics.decoded(decodeMs);
  });
  createMemoryMetric(registry, {
    serving: () => [process.pid],
    decode: () => decoder.processes.map(({ pid }) => pid),
    inference: () => scheduler.pids,
  });
  const captioner = createCaptioner({
    decoder,
    fetchImage: config.allowUrlImages ? createImageFetcher({ hosts, networks }) : undefined,
    maxFetchedBytes: config.maxBodyBytes,
    cache,
    onStage,
  });
  return {
    captioner,
    scheduler,
    async close() {
      await scheduler.drain();
      await decoder.close();
    },
  };
}
