import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Registry } from 'prom-client';
import { readFacts, readManifest, verifyFiles } from '../runtime/bundle.js';
import type { LoadOrder } from '../runtime/messages.js';
import { restrictPrecision } from '../runtime/sessions.js';
import { ConceptCost } from './concept-cost.js';
import { usableCores } from './cpu-quota.js';
import { type ChosenProvider, chooseProvider } from './provider-choice.js';
import { type BundleEngine, type SharedParts, startEngine } from './start-engine.js';
import { startSwappableEngine, type SwappableEngine } from './swappable-engine.js';
import { type EngineLogger, startWorker, type WarmUp, type WorkerTimings } from './worker-process.js';
import {
  planLoneWorker,
  planWorkers,
  workersInMemory,
  type WorkerPlan,
  type WorkerPlanSettings,
} from './worker-plan.js';

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
  readonly cacheSize: number;
}

const workerEntry = new URL('../runtime/worker.js', import.meta.url);
const heartbeatMs = 500;
const timings: WorkerTimings = { startTimeoutMs: 120_000, hangTimeoutMs: 10_000, stopTimeoutMs: 2_000 };
/** TensorRT builds its engines when it loads a graph. */
const namedProviderTimings: WorkerTimings = { ...timings, startTimeoutMs: 900_000 };
/** Embeddings of clients' concept words kept by each process: 15 MB at 384 dimensions. */
const conceptCacheSize = 10_000;

/**
 * Starts the inference processes for the bundle at `modelPath`; resolves once they are warm.
 * @param registry takes the engine's metrics
 * @throws BundleError naming the file when the bundle is not what its manifest says; WorkerRefused or
 *   ProviderError when the provider cannot run it; WorkerDied when the processes do not stay up
 */
export async function createEngine(
  settings: EngineSettings,
  logger: EngineLogger,
  registry: Registry,
): Promise<SwappableEngine> {
  return startSwappableEngine({
    start: (shared) => startBundle(settings, logger, shared),
    cacheSize: settings.cacheSize,
    logger,
    registry,
  });
}

/** Reads the bundle that is there now and starts its engine. Throws what `createEngine` throws. */
async function startBundle(
  settings: EngineSettings,
  logger: EngineLogger,
  shared: SharedParts,
): Promise<BundleEngine> {
  // A process that is replaced finds the same bundle, though a link in the path may lead to a new one by then.
  const modelPath = resolve(settings.modelPath);
  const bundlePath = await realpath(modelPath).catch(() => modelPath);
  const manifest = restrictPrecision(await readManifest(bundlePath), settings.precision);
  const planSettings = ({ provider, precision }: ChosenProvider): WorkerPlanSettings => ({
    ...settings,
    provider,
    workersInMemory: workersInMemory(manifest, precision),
  });
  const orderOf = ({ provider, precision }: ChosenProvider, plan: WorkerPlan): LoadOrder => ({
    type: 'load',
    bundlePath,
    bundleDigest: manifest.digest,
    provider,
    gpuOnly: settings.provider === 'auto',
    precision,
    ...plan,
    maxBatch: settings.maxBatchSize,
    conceptCacheSize,
    heartbeatMs,
  });
  const plansFor = (choice: ChosenProvider): WorkerPlan[] => planWorkers(planSettings(choice), usableCores());
  const ordersFor = (choice: ChosenProvider): LoadOrder[] =>
    plansFor(choice).map((plan) => orderOf(choice, plan));
  const chosen = await chooseProvider({
    ...settings,
    manifest,
    maxBatch: settings.maxBatchSize,
    tryOut: (choice) => tryOut(ordersFor(choice), logger),
    processesOf: (choice) => plansFor(choice).length,
    logger,
  });
  /** On CPUs, how many fit beside processes that are still there; at least one is tried. */
  const workersBeside = (others: number, { provider, precision }: ChosenProvider): number =>
    provider === 'cpu' ? Math.max(1, workersInMemory(manifest, precision) - others) : Infinity;
  const orders = ordersFor(chosen);
  const lone = planLoneWorker(planSettings(chosen), usableCores());
  logger.info(
    { ...chosen, threads: orders.map(({ threads }) => threads), loneThreads: lone?.threads },
    'starting inference processes',
  );
  const bundle = await readFacts(bundlePath, manifest);
  const conceptCost = new ConceptCost({
    prompts: bundle.concepts.prompts.length,
    cacheSize: conceptCacheSize,
  });
  const engine = startEngine({
    settings,
    bundle,
    ...chosen,
    orders,
    loneOrder: lone && { ...orderOf(chosen, lone), maxBatch: 1 },
    workersAtFirst: workersBeside(shared.predecessor?.processes ?? 0, chosen),
    workerEntry,
    timings: settings.provider === 'auto' ? timings : namedProviderTimings,
    conceptCost,
    logger,
    shared,
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

/** Starts one process, waits until it is warm, and stops it. Throws WorkerRefused or WorkerDied. */
async function tryOut([order]: readonly LoadOrder[], logger: EngineLogger): Promise<WarmUp> {
  if (order === undefined) throw new Error('a plan has no process');
  const worker = startWorker(workerEntry, order, timings, logger);
  try {
    return await worker.ready;
  } finally {
    await worker.stop();
  }
}
