import { resolve } from 'node:path';
import type { Registry } from 'prom-client';
import { readFacts, readManifest, verifyFiles } from '../runtime/bundle.js';
import type { LoadOrder } from '../runtime/messages.js';
import { choosePrecision, restrictPrecision } from '../runtime/sessions.js';
import { ConceptCost } from './concept-cost.js';
import { usableCores } from './cpu-quota.js';
import type { Engine } from './engine.js';
import { startEngine } from './start-engine.js';
import type { EngineLogger, WorkerTimings } from './worker-process.js';
import { planWorkers } from './worker-plan.js';

/** The settings of the service that the engine minds; see config.ts for their meaning. */
export interface EngineSettings {
  readonly modelPath: string;
  readonly provider: string;
  readonly devices: readonly string[];
  readonly precision: string;
  readonly workers: number | 'auto';
  readonly threads: number | 'auto';
  readonly maxBatchSize: number;
  readonly batchDelayMs: number;
  readonly maxQueueImages: number;
  readonly shutdownGraceMs: number;
}

const workerEntry = new URL('../runtime/worker.js', import.meta.url);
const heartbeatMs = 500;
const timings: WorkerTimings = { startTimeoutMs: 120_000, hangTimeoutMs: 10_000, stopTimeoutMs: 2_000 };
/** Embeddings of clients' concept words kept by each process: 15 MB at 384 dimensions. */
const conceptCacheSize = 10_000;

/**
 * Starts the inference processes for a bundle; resolves once they are warm.
 * @param registry takes the engine's metrics
 * @throws BundleError naming the file when the bundle is not what its manifest says; WorkerRefused when the provider
 *   cannot run it; WorkerDied when the processes do not stay up
 */
export async function createEngine(
  settings: EngineSettings,
  logger: EngineLogger,
  registry: Registry,
): Promise<Engine> {
  const bundlePath = resolve(settings.modelPath);
  const manifest = restrictPrecision(await readManifest(bundlePath), settings.precision);
  const provider = settings.provider === 'auto' ? 'cpu' : settings.provider;
  const precision = choosePrecision(manifest, provider);
  const orders = planWorkers({ ...settings, provider }, usableCores()).map((plan): LoadOrder => ({
    type: 'load',
    bundlePath,
    provider,
    precision,
    ...plan,
    maxBatch: settings.maxBatchSize,
    conceptCacheSize,
    heartbeatMs,
  }));
  const bundle = await readFacts(bundlePath, manifest);
  const conceptCost = new ConceptCost({
    prompts: bundle.concepts.prompts.length,
    cacheSize: conceptCacheSize,
  });
  const engine = startEngine({
    settings,
    bundle,
    provider,
    precision,
    orders,
    workerEntry,
    timings,
    conceptCost,
    logger,
    registry,
  });
  // The processes check what they load themselves; this finds a change in any other file while they start.
  const [verified, started] = await Promise.allSettled([verifyFiles(bundlePath, manifest), engine]);
  if (verified.status === 'rejected') {
    if (started.status === 'fulfilled') await started.value.drain();
    throw verified.reason;
  }
  if (started.status === 'rejected') throw started.reason;
  return started.value;
}
