import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Registry } from 'prom-client';
import {
  choosePrecision,
  type IdentifiedManifest,
  readFacts,
  readManifest,
  verifyFiles,
  restrictPrecision,
} from '../inference/bundle.js';
import type { LoadCommand } from '../inference/messages.js';
import { BundleEngine, type SharedParts, ConceptCost } from './bundle-engine.js';
import { type ChosenProvider, chooseProvider } from './choose-provider.js';
import { ReloadableScheduler } from './hot-reload.js';
import {
  planLowLatencyWorker,
  planWorkers,
  usableCores,
  type WorkerPlan,
  workersInMemory,
} from './resources.js';
import { type EngineLogger, startWorker, type WarmUp, type WorkerTimings } from './worker-process.js';

/** The settings of the service that the scheduler reads; see config.ts for their meaning. */
export interface SchedulerSettings {
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

const workerEntry = new URL('../inference/worker.js', import.meta.url);
const heartbeatMs = 500;
const timings: WorkerTimings = { startTimeoutMs: 120_000, hangTimeoutMs: 10_000, stopTimeoutMs: 2_000 };
/** TensorRT builds its engines when it loads a graph. */
const namedProviderTimings: WorkerTimings = { ...timings, startTimeoutMs: 900_000 };
/** Embeddings of clients' concept words kept by each inference process: 15 MB at 384 dimensions. */
const conceptCacheSize = 10_000;

/**
 * Starts the inference processes for the bundle at `modelPath`; resolves once they are warm.
 *
 * @param registry takes the scheduler's metrics
 * @throws BundleError naming the file when the bundle is not what its manifest says; WorkerRefused or ProviderError
 *   when the provider cannot run it; WorkerDied when the processes do not stay up
 */
export function startScheduler(
  settings: SchedulerSettings,
  logger: EngineLogger,
  registry: Registry,
): Promise<ReloadableScheduler> {
  return ReloadableScheduler.start({
    start: (shared) => startBundle(settings, logger, shared),
    maxQueueImages: settings.maxQueueImages,
    logger,
    registry,
  });
}

/** Reads the bundle that is there now and starts its engine. Throws what `startScheduler` throws. */
async function startBundle(
  settings: SchedulerSettings,
  logger: EngineLogger,
  shared: SharedParts,
): Promise<BundleEngine> {
  // A process that is replaced finds the same bundle, though a link in the path may lead to a new one by then.
  const modelPath = resolve(settings.modelPath);
  const bundlePath = await realpath(modelPath).catch(() => modelPath);
  const manifest = restrictPrecision(await readManifest(bundlePath), settings.precision);
  const planner = new Planner(settings, bundlePath, manifest);
  const chosen = await chooseProvider({
    ...settings,
    manifest,
    maxBatch: settings.maxBatchSize,
    probe: (choice) => probe(planner.loadCommands(choice), logger),
    processesOf: (choice) => planner.loadCommands(choice).length,
    logger,
  });
  const loadCommands = planner.loadCommands(chosen);
  const lowLatencyCommand = planner.lowLatencyCommand(chosen);
  logger.info(
    {
      ...chosen,
      threads: loadCommands.map(({ threads }) => threads),
      lowLatencyThreads: lowLatencyCommand?.threads,
    },
    'starting inference processes',
  );
  const bundle = await readFacts(bundlePath, manifest);
  const engine = BundleEngine.start({
    ...settings,
    bundle,
    ...chosen,
    loadCommands,
    lowLatencyCommand,
    maxFirstWorkers: planner.maxWorkersBeside(shared.predecessor?.processes ?? 0, chosen),
    workerEntry,
    timings: settings.provider === 'auto' ? timings : namedProviderTimings,
    conceptCost: new ConceptCost({ prompts: bundle.concepts.prompts.length, cacheSize: conceptCacheSize }),
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

/** Says how a bundle is divided among inference processes, for each choice of an execution provider. */
class Planner {
  readonly #settings: SchedulerSettings;
  readonly #bundlePath: string;
  readonly #manifest: IdentifiedManifest;

  constructor(settings: SchedulerSettings, bundlePath: string, manifest: IdentifiedManifest) {
    this.#settings = settings;
    this.#bundlePath = bundlePath;
    this.#manifest = manifest;
  }

  /** One for each worker. */
  loadCommands(choice: ChosenProvider): LoadCommand[] {
    return planWorkers(this.#planSettings(choice), usableCores()).map((plan) => this.#command(choice, plan));
  }

  /** For one more worker, which takes an image that is alone in the service. */
  lowLatencyCommand(choice: ChosenProvider): LoadCommand | undefined {
    const plan = planLowLatencyWorker(this.#planSettings(choice), usableCores());
    return plan && { ...this.#command(choice, plan), maxBatch: 1 };
  }

  /** On CPUs, how many workers fit beside processes that are still there; at least one is tried. */
  maxWorkersBeside(others: number, { provider, precision }: ChosenProvider): number {
    return provider === 'cpu' ? Math.max(1, workersInMemory(this.#manifest, precision) - others) : Infinity;
  }

  #planSettings({ provider, precision }: ChosenProvider) {
    return { ...this.#settings, provider, workersInMemory: workersInMemory(this.#manifest, precision) };
  }

  #command({ provider, precision }: ChosenProvider, plan: WorkerPlan): LoadCommand {
    return {
      type: 'load',
      bundlePath: this.#bundlePath,
      bundleDigest: this.#manifest.digest,
      provider,
      gpuOnly: this.#settings.provider === 'auto',
      precision,
      ...plan,
      maxBatch: this.#settings.maxBatchSize,
      conceptCacheSize,
      heartbeatMs,
    };
  }
}

/** What a provider does with the bundle at `modelPath`. */
export interface ProviderTrial {
  readonly precision: string;
  readonly processes: number;
  /** Of all processes, as if they did not hinder each other. */
  readonly imagesPerSecond: number;
}

/**
 * Runs the bundle on a provider, as `startScheduler` would, for a moment.
 * @throws BundleError, WorkerRefused or WorkerDied, with the reason why it does not run
 */
export async function tryProvider(
  settings: SchedulerSettings,
  provider: string,
  logger: EngineLogger,
): Promise<ProviderTrial> {
  const bundlePath = resolve(settings.modelPath);
  const manifest = restrictPrecision(await readManifest(bundlePath), settings.precision);
  const precision = choosePrecision(manifest, provider);
  const commands = new Planner(settings, bundlePath, manifest).loadCommands({ provider, precision });
  const { largest } = await probe(commands, logger);
  const processes = commands.length;
  return { precision, processes, imagesPerSecond: (1000 * settings.maxBatchSize * processes) / largest };
}

/** Starts one process, waits until it is warm, and stops it. Throws WorkerRefused or WorkerDied. */
async function probe([command]: readonly LoadCommand[], logger: EngineLogger): Promise<WarmUp> {
  if (command === undefined) throw new Error('a plan has no process');
  const worker = startWorker(workerEntry, command, timings, logger);
  try {
    return await worker.ready;
  } finally {
    await worker.stop();
  }
}
