import { memoryOfTree } from '../service/process-memory.js';

/** Of the most that was seen while the service warmed up: allocators take a while to have what they need. */
const mostGrowth = 1.25;

/** What all processes of the service take, looked at now and then, and the bound on its growth. */
export class MemoryWatch {
  readonly #mebibytes: number[] = [];
  readonly #warmUp: number;

  /** @param warmUp share of the measurements that come before the service has what it needs */
  constructor(warmUp: number) {
    this.#warmUp = warmUp;
  }

  async look(pid: number): Promise<void> {
    const bytes = await memoryOfTree(pid);
    if (bytes !== undefined) this.add(bytes / 1024 ** 2);
  }

  add(mebibytes: number): void {
    this.#mebibytes.push(mebibytes);
  }

  /** Rows of a table. */
  get rows(): [string, string][] {
    const { early, late } = this.#most;
    return [
      ['memory while warming up, MiB at most (sum of PSS)', early.toFixed(0)],
      ['memory after that, MiB at most', late.toFixed(0)],
    ];
  }

  get failures(): string[] {
    // Only Linux tells.
    if (process.platform !== 'linux') return [];
    const { early, late } = this.#most;
    if (Number.isNaN(late)) return ['memory was looked at once at most, which shows no growth'];
    if (late <= early * mostGrowth) return [];
    return [
      `memory grew from ${early.toFixed(0)} to ${late.toFixed(0)} MiB, more than to ${mostGrowth} of what it was`,
    ];
  }

  /** NaN where nothing was measured. */
  get #most(): { early: number; late: number } {
    const count = Math.max(1, Math.floor(this.#mebibytes.length * this.#warmUp));
    const early = this.#mebibytes.slice(0, count);
    const late = this.#mebibytes.slice(count);
    return { early: mostOf(early), late: mostOf(late) };
  }
}

function mostOf(values: readonly number[]): number {
  return values.length === 0 ? NaN : Math.max(...values);
}
