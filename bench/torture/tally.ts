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

/** Counts what has two properties. */
export class CrossTally {
  readonly #rows = new Map<string, Tally>();
  readonly #columns = new Set<string>();

  add(row: string, column: string): void {
    const tally = this.#rows.get(row) ?? new Tally();
    this.#rows.set(row, tally);
    tally.add(column);
    this.#columns.add(column);
  }

  /** With sums of both. */
  table(what: string): string {
    const columns = [...this.#columns].sort();
    const rows = [...this.#rows].sort(([a], [b]) => a.localeCompare(b));
    const sums = columns.map((column) => rows.reduce((sum, [, tally]) => sum + tally.of(column), 0));
    const lines = rows.map(([row, tally]) => [
      row,
      ...columns.map((column) => tally.of(column)),
      tally.total,
    ]);
    const all = ['all', ...sums, sums.reduce((sum, count) => sum + count, 0)];
    return markdownTable(
      [what, ...columns, 'all'],
      [...lines, all].map((line) => line.map(String)),
    );
  }
}
