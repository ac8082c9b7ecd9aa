import { markdownTable } from '../measure/table.js';

/** Counts how things ended. */
export class Tally {
  readonly #counts = new Map<string, number>();

  add(outcome: string): void {
    this.#counts.set(outcome, this.of(outcome) + 1);
  }

  of(outcome: string): number {
    return this.#counts.get(outcome) ?? 0;
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** What ended otherwise than it may, in words. */
  unlike(allowed: readonly string[]): string[] {
    return [...this.#counts]
      .filter(([outcome]) => !allowed.includes(outcome))
      .map(([outcome, count]) => `${count} × ${outcome}`);
  }

  table(what: string): string {
    const rows = [...this.#counts]
      .sort(([, a], [, b]) => b - a)
      .map(([outcome, count]) => [outcome, String(count)]);
    return markdownTable([what, 'count'], rows);
  }
}
