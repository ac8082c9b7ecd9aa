import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { posix } from 'node:path';

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
