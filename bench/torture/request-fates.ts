import { markdownTable } from '../measure/table.js';
import type { Tally } from './tally.js';

/** Answers to requests that were not admitted. */
const turnedAway: readonly string[] = ['503 queue_full', '503 not_ready'];

export type Kind = 'single' | 'batch' | 'corrupted';

interface Fate {
  readonly kind: Kind;
  readonly id: string;
  readonly wasAdmitted: boolean;
  readonly wasRight: boolean;
}

/** What became of each request: turned away, or admitted and then answered, right or not. */
export class RequestFates {
  /** Requests that were admitted and not answered right, by their number. */
  readonly failures: string[] = [];
  readonly #fates: Fate[] = [];

  /**
   * @param ends how each of its images ended; a request that is turned away has one end for all
   * @param right ends that are right for what was admitted
   */
  add(kind: Kind, id: string, ends: readonly string[], right: readonly string[]): void {
    const wasAdmitted = !(ends.length === 1 && turnedAway.includes(ends[0] ?? ''));
    const wrong = ends.filter((end) => !right.includes(end));
    this.#fates.push({ kind, id, wasAdmitted, wasRight: wrong.length === 0 });
    if (wasAdmitted && wrong.length > 0) this.failures.push(`${kind} ${id}: ${wrong.join(', ')}`);
  }

  /** @param answered by the service's log, how often each request was */
  notOnce(answered: Tally): string[] {
    return this.#fates
      .filter(({ id }) => answered.of(id) !== 1)
      .map(({ kind, id }) => `${kind} ${id} was answered ${answered.of(id)} times by the log`);
  }

  table(answered: Tally): string {
    const kinds: readonly Kind[] = ['single', 'batch', 'corrupted'];
    return markdownTable(
      ['requests', 'turned away', 'admitted', 'of these answered right, once'],
      kinds.map((kind) => {
        const all = this.#fates.filter((fate) => fate.kind === kind);
        const admitted = all.filter(({ wasAdmitted }) => wasAdmitted);
        const right = admitted.filter(({ id, wasRight }) => wasRight && answered.of(id) === 1);
        return [kind, ...[all.length - admitted.length, admitted.length, right.length].map(String)];
      }),
    );
  }
}
