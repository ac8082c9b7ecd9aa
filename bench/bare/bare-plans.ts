import type { Config } from '../../src/config.js';
import { usableCores } from '../../src/engine/cpu-quota.js';
import { planLoneWorker, planWorkers, workersInMemory } from '../../src/engine/worker-plan.js';
import { readCaptionOptions } from '../../src/http/captions/caption-options.js';
import { readManifest } from '../../src/runtime/bundle.js';
import type { ServedModel } from '../service/served-model.js';
import type { BareLoadOrder } from './messages.js';

/** One way to use all cores for decoding and the four graphs. */
export interface BarePlan {
  readonly name: string;
  /** Whether the service captions an image that is alone this way. */
  readonly isForSingles: boolean;
  /** One for each process. */
  readonly orders: readonly BareLoadOrder[];
}

export const batchSizes = [1, 2, 4, 8, 16, 32] as const;
const largestBatch = Math.max(...batchSizes);
/** Each holds a copy of the model. */
const mostProcesses = 16;

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
  const lone = planLoneWorker(service, cores);
  const plans = [
    ...(lone === undefined ? [] : [[lone]]),
    planWorkers(service, cores),
    ...(onCpu ? [planWorkers({ ...service, workers: 1, threads: cores }, cores)] : []),
    ...(onCpu
      ? [planWorkers({ ...service, workers: Math.min(cores, mostProcesses), threads: cores }, cores)]
      : []),
  ];
  return plans
    .map((processes, index) => ({
      name: `${counted(processes.length, 'process', 'processes')} × ${counted(processes[0]?.threads ?? 0, 'thread', 'threads')}`,
      isForSingles: index === 0,
      orders: processes.map((each, place): BareLoadOrder => ({
        type: 'load',
        order: {
          type: 'load',
          bundlePath: config.modelPath,
          provider,
          gpuOnly: false,
          precision,
          ...each,
          maxBatch: largestBatch,
          conceptCacheSize: 1,
          heartbeatMs: 1000,
        },
        options: readCaptionOptions({ texts: [], members: {} }, manifest.decoding.maxLength).options,
        maxPixels: config.maxPixels,
        fastJpeg: config.fastJpeg,
        decoders: Math.max(1, Math.floor(config.decoders / processes.length)),
        photos: photos.filter((_, photo) => photo % processes.length === place),
      })),
    }))
    .filter(({ name }, index, all) => all.findIndex((plan) => plan.name === name) === index);
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
