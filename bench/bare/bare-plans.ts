import type { Config } from '../../src/config.js';
import { parseCaptionOptions } from '../../src/captioner/options.js';
import { readManifest } from '../../src/inference/bundle.js';
import {
  planLowLatencyWorker,
  planWorkers,
  usableCores,
  workersInMemory,
} from '../../src/scheduler/resources.js';
import type { ServedModel } from '../service/served-model.js';
import type { BareLoadCommand } from './messages.js';

/** One way to use all cores for decoding and the four graphs. */
export interface BarePlan {
  readonly name: string;
  /** Whether the service captions an image that is alone this way. */
  readonly isForSingles: boolean;
  /** One for each process. */
  readonly commands: readonly BareLoadCommand[];
}

export const batchSizes = [1, 2, 4, 8, 16, 32] as const;
const largestBatch = Math.max(...batchSizes);
/** Each holds a copy of the model. */
const maxProcesses = 16;

/**
 * The ways that are tried: the service's own for many images and for one (`isForSingles`), one process with all threads,
 * and a process with a single thread for each core (on large machines fewer, which share the cores).
 */
export async function barePlans(
  config: Config,
  { provider, precision }: ServedModel,
  photos: readonly string[],
): Promise<BarePlan[]> {
  const manifest = await readManifest(config.modelPath);
  const cores = usableCores();
  const { devices, workers, threads } = config;
  const service = {
    devices,
    provider,
    workers,
    threads,
    workersInMemory: workersInMemory(manifest, precision),
  };
  const onCpu = provider === 'cpu';
  const lowLatencyWorker = planLowLatencyWorker(service, cores);
  const plans = [
    ...(lowLatencyWorker === undefined ? [] : [[lowLatencyWorker]]),
    planWorkers(service, cores),
    ...(onCpu ? [planWorkers({ ...service, workers: 1, threads: cores }, cores)] : []),
    ...(onCpu
      ? [planWorkers({ ...service, workers: Math.min(cores, maxProcesses), threads: cores }, cores)]
      : []),
  ];
  return plans
    .map((processes, index) => ({
      name: `${counted(processes.length, 'process', 'processes')} × ${counted(processes[0]?.threads ?? 0, 'thread', 'threads')}`,
      isForSingles: index === 0,
      commands: processes.map((each, process): BareLoadCommand => ({
        type: 'load',
        command: {
          type: 'load',
          bundlePath: config.modelPath,
          bundleDigest: manifest.digest,
          provider,
          gpuOnly: false,
          precision,
          ...each,
          maxBatch: largestBatch,
          conceptCacheSize: 1,
          heartbeatMs: 1000,
        },
        options: parseCaptionOptions({ texts: [], members: {} }, manifest.decoding.maxLength),
        limits: { maxPixels: config.maxPixels, maxSide: config.maxSide, heic: config.heic },
        decoders: Math.max(1, Math.floor(config.decoders / processes.length)),
        photos: photos.filter((_, photo) => photo % processes.length === process),
      })),
    }))
    .filter(({ name }, index, all) => all.findIndex((plan) => plan.name === name) === index);
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
