import type { BundleManifest } from '../runtime/bundle-manifest.js';
import { usableMemory } from './memory-limit.js';

/** How the device's work is divided among processes. */
export interface WorkerPlan {
  readonly device: number;
  readonly threads: number;
}

export interface WorkerPlanSettings {
  readonly provider: string;
  /** Device numbers; empty means the first. */
  readonly devices: readonly string[];
  /** Processes on CPUs; other providers have one for each device. */
  readonly workers: number | 'auto';
  /** Threads of all processes together. */
  readonly threads: number | 'auto';
  /** Processes that the memory has room for; only `auto` minds it. */
  readonly workersInMemory: number;
}

/** Where `auto` stops: a process more costs memory, and on so many cores two threads each lose little. */
const mostAutomaticWorkers = 8;

/**
 * @param cores that may be kept busy
 * @see docs/decisions/0005-workers-on-cpus.md for what was measured
 */
export function planWorkers(settings: WorkerPlanSettings, cores: number): WorkerPlan[] {
  const { provider, workers, workersInMemory } = settings;
  const total = settings.threads === 'auto' ? cores : settings.threads;
  const automatic = Math.max(1, Math.min(total, mostAutomaticWorkers, workersInMemory));
  const count = workers === 'auto' ? automatic : workers;
  const devices = settings.devices.length === 0 ? [0] : settings.devices.map(Number);
  const places = provider === 'cpu' ? Array.from({ length: count }, () => 0) : devices;
  return places.map((device, index) => ({ device, threads: share(total, places.length, index) }));
}

/**
 * One worker more, with all cores, for an image that comes while nothing else runs: with several workers it would have
 * a part of the cores to itself and the others idle. Undefined where it would be like the others, or the memory lacks.
 */
export function planLoneWorker(settings: WorkerPlanSettings, cores: number): WorkerPlan | undefined {
  const { length } = planWorkers(settings, cores);
  const isWanted = settings.provider === 'cpu' && settings.workers === 'auto' && length > 1;
  if (!isWanted || length >= settings.workersInMemory) return undefined;
  return { device: 0, threads: settings.threads === 'auto' ? cores : settings.threads };
}

/** What each of some processes gets: the first ones get what does not divide evenly. */
function share(threads: number, processes: number, index: number): number {
  return Math.max(1, Math.floor(threads / processes) + (index < threads % processes ? 1 : 0));
}

/** Bytes that a weight takes in a file of each precision. */
const bytesPerWeight: Readonly<Record<string, number>> = { w8: 1, int8: 1, fp16: 2, fp32: 4 };
/**
 * What a process was seen to take, at its largest batch: weights as fp32, their packed copies, and activations. In int8
 * weights are multiplied as the bytes that they are stored as. `npm run bench -- memory` prints it.
 */
const bytesInUsePerWeight: Readonly<Record<string, number>> = { int8: 7 };
const otherwiseInUse = 12;

/** @returns how many processes of this bundle fit beside the serving process, which gets half a gibibyte */
export function workersInMemory(
  { files, precisions }: BundleManifest,
  precision: string,
  memoryBytes = usableMemory(),
): number {
  const graphs = Object.values(precisions[precision] ?? {}).map((file) => files[file]?.bytes ?? 0);
  const weights = graphs.reduce((sum, bytes) => sum + bytes, 0) / (bytesPerWeight[precision] ?? 1);
  const inUse = weights * (bytesInUsePerWeight[precision] ?? otherwiseInUse);
  return Math.floor((memoryBytes - 512 * 1024 ** 2) / inUse);
}
