import type { Config } from '../../src/config.js';
import { usableCores } from '../../src/engine/cpu-quota.js';
import { planWorkers } from '../../src/engine/worker-plan.js';
import { readCaptionOptions } from '../../src/http/captions/caption-options.js';
import { readManifest } from '../../src/runtime/bundle.js';
import type { ServedModel } from '../service/served-model.js';
import type { BareLoadOrder } from './messages.js';

/** One way to use all cores for decoding and the four graphs. */
export interface BarePlan {
  readonly name: string;
  readonly isServicePlan: boolean;
  /** One for each process. */
  readonly orders: readonly BareLoadOrder[];
}

export const batchSizes = [1, 2, 4, 8, 16, 32] as const;
const largestBatch = Math.max(...batchSizes);
/** Each holds a copy of the model. */
const mostProcesses = 16;

/**
 * The ways that are tried, the service's own first: its processes and threads, one process with all threads, and a
 * process with a single thread for each core (on large machines fewer, which share the cores).
 */
export async function barePlans(
  config: Config,
  { provider, precision }: ServedModel,
  photos: readonly string[],
): Promise<BarePlan[]> {
  const { decoding } = await readManifest(config.modelPath);
  const cores = usableCores();
  const settings = { devices: config.devices, provider };
  const onCpu = provider === 'cpu';
  const plans = [
    planWorkers({ ...settings, workers: config.workers, threads: config.threads }, cores),
    ...(onCpu ? [planWorkers({ ...settings, workers: 1, threads: cores }, cores)] : []),
    ...(onCpu
      ? [planWorkers({ ...settings, workers: Math.min(cores, mostProcesses), threads: cores }, cores)]
      : []),
  ];
  return plans
    .map((workers, index) => ({
      name: `${counted(workers.length, 'process', 'processes')} × ${counted(workers[0]?.threads ?? 0, 'thread', 'threads')}`,
      isServicePlan: index === 0,
      orders: workers.map((worker, place): BareLoadOrder => ({
        type: 'load',
        order: {
          type: 'load',
          bundlePath: config.modelPath,
          provider,
          gpuOnly: false,
          precision,
          ...worker,
          maxBatch: largestBatch,
          conceptCacheSize: 1,
          heartbeatMs: 1000,
        },
        options: readCaptionOptions({ texts: [], members: {} }, decoding.maxLength).options,
        maxPixels: config.maxPixels,
        decoders: Math.max(1, Math.floor(config.decoders / workers.length)),
        photos: photos.filter((_, photo) => photo % workers.length === place),
      })),
    }))
    .filter(({ name }, index, all) => all.findIndex((plan) => plan.name === name) === index);
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
