import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { posix } from 'node:path';
import type { BundleManifest } from '../inference/manifest.js';

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
const maxAutomaticWorkers = 8;

/**
 * @param cores that may be kept busy
 * @see docs/decisions/0005-workers-on-cpus.md for what was measured
 */
export function planWorkers(settings: WorkerPlanSettings, cores: number): WorkerPlan[] {
  const { provider, workers, workersInMemory } = settings;
  const total = settings.threads === 'auto' ? cores : settings.threads;
  const automatic = Math.max(1, Math.min(total, maxAutomaticWorkers, workersInMemory));
  const count = workers === 'auto' ? automatic : workers;
  const devices = settings.devices.length === 0 ? [0] : settings.devices.map(Number);
  const places = provider === 'cpu' ? Array.from({ length: count }, () => 0) : devices;
  return places.map((device, index) => ({ device, threads: share(total, places.length, index) }));
}

/**
 * Plans one more worker, with all cores, for an image that comes while nothing else runs: among several workers that
 * image would use only a part of the cores. Undefined where it would be like the others, or memory is short.
 */
export function planLowLatencyWorker(settings: WorkerPlanSettings, cores: number): WorkerPlan | undefined {
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

/** Content of a small text file, undefined when it cannot be read. */
export type ReadText = (path: string) => string | undefined;

/**
 * Cores this process may keep busy: the container's CPU quota rounded down, at least one, at most the host's cores.
 * Node counts the host's cores only (before version 22), and more threads than the quota are throttled together.
 */
export function usableCores(read: ReadText = readText, hostCores = availableParallelism()): number {
  const quota = Math.min(...quotas(read), hostCores);
  return Math.max(1, Math.floor(quota));
}

/** The quotas, in cores, of this process's control group and of those around it; each of them binds. */
function quotas(read: ReadText): number[] {
  // A line is `hierarchy:controllers:path`; version 2 has hierarchy 0 and no controllers.
  const lines = (read('/proc/self/cgroup') ?? '0::/').trim().split('\n');
  return lines.flatMap((line) => {
    const [, controllers = '', path = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === '') return ancestors(path).map((at) => quotaV2(read, at));
    if (!controllers.split(',').includes('cpu')) return [];
    return ancestors(path).map((at) => quotaV1(read, controllers, at));
  });
}

/** `/a/b` → `/a/b`, `/a`, `/`. In a container the inner parts may not exist, and the root is the container's group. */
function ancestors(path: string): string[] {
  const paths = [path];
  for (let at = path; at !== '/' && at !== '.'; at = posix.dirname(at)) paths.push(posix.dirname(at));
  return paths;
}

function quotaV2(read: ReadText, path: string): number {
  const [quota, period] = (read(posix.join('/sys/fs/cgroup', path, 'cpu.max')) ?? 'max').split(/\s+/);
  return ratio(quota, period);
}

function quotaV1(read: ReadText, controllers: string, path: string): number {
  const folder = posix.join('/sys/fs/cgroup', controllers, path);
  return ratio(read(posix.join(folder, 'cpu.cfs_quota_us')), read(posix.join(folder, 'cpu.cfs_period_us')));
}

/** Infinite without a limit: `max` in version 2, −1 in version 1. */
function ratio(quota: string | undefined, period: string | undefined): number {
  const cores = Number(quota) / Number(period);
  return cores > 0 ? cores : Infinity;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * Bytes this process and its children may use together: the container's limit, or the machine's memory.
 * @param limit of the container; 0, or more than any machine has, where there is none
 */
export function usableMemory(total = totalmem(), limit = process.constrainedMemory()): number {
  return limit === 0 ? total : Math.min(total, limit);
}
