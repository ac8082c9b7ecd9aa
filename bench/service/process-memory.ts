import { readdir, readFile } from 'node:fs/promises';

/**
 * Memory of a process and all that descend from it: the sum of their proportional set sizes, in which a page that
 * several processes map counts once. Undefined where the system does not tell (anywhere but Linux).
 * @returns bytes
 */
export async function memoryOfTree(pid: number): Promise<number | undefined> {
  return (await memoryOfEach(pid))?.reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * The proportional set sizes that `memoryOfTree` adds up.
 * @returns bytes, of the process itself first; undefined where the system does not tell
 */
export async function memoryOfEach(pid: number): Promise<number[] | undefined> {
  if (process.platform !== 'linux') return undefined;
  const each: number[] = [];
  for (const member of await processTree(pid)) {
    const rollup = await read(`/proc/${member}/smaps_rollup`);
    if (rollup === undefined) continue; // it has ended since
    const kibibytes = /^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1];
    if (kibibytes === undefined) return undefined;
    each.push(Number(kibibytes) * 1024);
  }
  return each.length === 0 ? undefined : each;
}

/** The process itself and its descendants, where the system tells (Linux). */
export async function processTree(root: number): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await read(`/proc/${name}/stat`);
    // `pid (name) state ppid …`, and a name may hold spaces and brackets.
    const parent = stat === undefined ? undefined : /^.*\) \S (\d+)/s.exec(stat)?.[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const tree = [root];
  for (const member of tree) {
    for (const [pid, parent] of parents) if (parent === member) tree.push(pid);
  }
  return tree;
}

async function read(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}
