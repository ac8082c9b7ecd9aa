import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** A cgroup that bounds the memory of a service, as its container would. */
export interface MemoryLimit {
  /** A program joins by writing its number there; what it starts is in, too. */
  readonly join: string;
  /** Removes it, once its processes have ended. */
  end(): Promise<{ readonly peakBytes: number; readonly killed: number }>;
}

/**
 * Makes a cgroup: within that of this process, or beside it in version 2, where a cgroup has either processes or others.
 * Needs to be root, and a memory controller.
 * @returns undefined where none can be made
 */
export async function createMemoryLimit(bytes: number): Promise<MemoryLimit | undefined> {
  const groups = await readFile('/proc/self/cgroup', 'utf8').catch(() => '');
  const name = `pcm-caption-torture-${process.pid}`;
  const version1 = /^\d+:memory:(.*)$/m.exec(groups)?.[1];
  const version2 = /^0::(.*)$/m.exec(groups)?.[1] ?? '/';
  try {
    return version1 === undefined
      ? await createVersion2(join('/sys/fs/cgroup', dirname(version2), name), bytes)
      : await createVersion1(join('/sys/fs/cgroup/memory', version1, name), bytes);
  } catch {
    return undefined;
  }
}

async function createVersion2(folder: string, bytes: number): Promise<MemoryLimit> {
  await mkdir(folder);
  try {
    await writeFile(join(folder, 'memory.max'), String(bytes));
    await writeFile(join(folder, 'memory.swap.max'), '0').catch(() => undefined); // where there is swap
  } catch (error) {
    await rmdir(folder);
    throw error;
  }
  return {
    join: join(folder, 'cgroup.procs'),
    async end() {
      const killed = /^oom_kill (\d+)$/m.exec(await readFile(join(folder, 'memory.events'), 'utf8'))?.[1];
      const peakBytes = Number(await readFile(join(folder, 'memory.peak'), 'utf8').catch(() => NaN));
      await rmdir(folder);
      return { peakBytes, killed: Number(killed) };
    },
  };
}

async function createVersion1(folder: string, bytes: number): Promise<MemoryLimit> {
  await mkdir(folder);
  try {
    await writeFile(join(folder, 'memory.limit_in_bytes'), String(bytes));
    await writeFile(join(folder, 'memory.memsw.limit_in_bytes'), String(bytes)).catch(() => undefined);
  } catch (error) {
    await rmdir(folder);
    throw error;
  }
  return {
    join: join(folder, 'cgroup.procs'),
    async end() {
      const killed = /^oom_kill (\d+)$/m.exec(
        await readFile(join(folder, 'memory.oom_control'), 'utf8'),
      )?.[1];
      const peakBytes = Number(await readFile(join(folder, 'memory.max_usage_in_bytes'), 'utf8'));
      await rmdir(folder);
      return { peakBytes, killed: Number(killed) };
    },
  };
}
