import { BundleError, type BundleManifest } from '../inference/manifest.js';
import { gpuUnavailableReason, ProviderError } from '../inference/providers.js';
import { type EngineLogger, type WarmUp, WorkerDied, WorkerRefused } from './worker-process.js';
import { choosePrecision } from '../inference/bundle.js';

/** An execution provider and what it runs. */
export interface ChosenProvider {
  readonly provider: string;
  /** Key of the bundle's `precisions`. */
  readonly precision: string;
}

export interface ProviderChoiceOptions {
  /** As configured. */
  readonly provider: string;
  /** Device numbers as configured; empty means the first. */
  readonly devices: readonly string[];
  readonly manifest: BundleManifest;
  /** Images of the largest batch. */
  readonly maxBatch: number;
  /** Why a provider cannot run on a GPU of this machine, as far as it shows without starting it. */
  readonly lackOf?: (provider: string) => string | undefined;
  /** Starts one process of the provider's plan, lets it warm up and leave. Rejects with WorkerRefused or WorkerDied. */
  readonly probe: (choice: ChosenProvider) => Promise<WarmUp>;
  /** Processes that the provider's plan has. */
  readonly processesOf: (choice: ChosenProvider) => number;
  readonly logger: Pick<EngineLogger, 'info'>;
}

/** What `auto` tries before the CPU, the fastest first. The others run on CPUs too, or build for minutes. */
const gpuProviders = ['cuda', 'webgpu'] as const;
/** Providers whose devices have numbers. */
const numbered = ['cuda', 'tensorrt', 'dml'];
/** Providers that run on nothing else; webgpu that is named may run on a driver that computes on the CPU. */
const needsNvidia = ['cuda', 'tensorrt'];

/**
 * The provider that was named, or for `auto` the first GPU provider that captions more images a second than the CPU.
 * @throws BundleError when the bundle has no precision for a provider that was named; ProviderError when devices
 *   are numbered that the provider cannot tell apart, or the one that was named has no GPU; what `probe` throws when not even the CPU warms up
 */
export async function chooseProvider(options: ProviderChoiceOptions): Promise<ChosenProvider> {
  const { provider, devices, manifest, logger, lackOf = gpuUnavailableReason } = options;
  if (provider !== 'auto') {
    if (!numbersDevices(provider) && devices.length > 0) {
      throw new ProviderError(
        `DEVICES=${devices.join(',')} numbers the devices of ${numbered.join(', ')}: leave it unset for ${provider}`,
      );
    }
    const lack = needsNvidia.includes(provider) ? lackOf(provider) : undefined;
    if (lack !== undefined) {
      throw new ProviderError(`PROVIDER=${provider} does not run here: ${lack}; PROVIDER=auto does`);
    }
    return { provider, precision: choosePrecision(manifest, provider) };
  }
  const cpu = { provider: 'cpu', precision: choosePrecision(manifest, 'cpu') };
  let cpuRate: number | undefined;
  for (const gpu of gpuProviders) {
    const found = await tryGpu(gpu, options);
    if (typeof found === 'string') {
      logger.info(`provider ${gpu} is not taken: ${found}`);
      continue;
    }
    cpuRate ??= rateOf(await options.probe(cpu), cpu, options);
    const rates = `warmed up at ${found.rate.toFixed(1)} images/s, the CPU at ${cpuRate.toFixed(1)}`;
    if (found.rate > cpuRate) {
      logger.info(`provider ${gpu} is taken: it ${rates}`);
      return found.choice;
    }
    logger.info(`provider ${gpu} is not taken: it ${rates}`);
  }
  logger.info('provider cpu is taken');
  return cpu;
}

/** Why the provider cannot be taken, or how fast it is. */
async function tryGpu(
  provider: string,
  options: ProviderChoiceOptions,
): Promise<string | { choice: ChosenProvider; rate: number }> {
  if (options.devices.length > 0 && !numbersDevices(provider)) return 'its devices have no numbers';
  const lack = (options.lackOf ?? gpuUnavailableReason)(provider);
  if (lack !== undefined) return lack;
  try {
    const choice = { provider, precision: choosePrecision(options.manifest, provider) };
    return { choice, rate: rateOf(await options.probe(choice), choice, options) };
  } catch (error) {
    const isExplained = [WorkerRefused, WorkerDied, BundleError].some((kind) => error instanceof kind);
    if (isExplained && error instanceof Error) return error.message;
    throw error;
  }
}

/** Images a second of all processes, as if they did not hinder each other: kind to the CPU, whose processes do. */
function rateOf({ largest }: WarmUp, choice: ChosenProvider, options: ProviderChoiceOptions): number {
  return (1000 * options.maxBatch * options.processesOf(choice)) / largest;
}

function numbersDevices(provider: string): boolean {
  return numbered.includes(provider);
}
