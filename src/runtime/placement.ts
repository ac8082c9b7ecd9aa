import type { Graph } from './tensors.js';

/** One graph loaded on one execution provider. */
export interface Candidate {
  readonly provider: string;
  readonly run: Graph;
  readonly release: () => Promise<void>;
}

/** A graph whose execution provider is fixed, or still to be chosen by measuring. */
export interface PlacedGraph {
  readonly run: Graph;
  /** Keeps the candidate whose last run was the fastest, releases the others, and tells its provider. Idempotent. */
  readonly settle: () => Promise<string>;
}

/**
 * Until it is settled, every run goes through all candidates in turn, and the first one's outputs are handed out.
 * @param first on the wanted provider, which stays when nothing was run or another is as fast
 * @param others on providers that may be faster for this graph
 */
export function placeGraph(
  first: Candidate,
  others: readonly Candidate[] = [],
  now = () => performance.now(),
): PlacedGraph {
  const lastMs = new Map<Candidate, number>();
  let chosen = others.length === 0 ? first : undefined;

  const timed = async (candidate: Candidate, feeds: Parameters<Graph>[0]): ReturnType<Graph> => {
    const started = now();
    const outputs = await candidate.run(feeds);
    lastMs.set(candidate, now() - started);
    return outputs;
  };
  return {
    async run(feeds) {
      if (chosen !== undefined) return chosen.run(feeds);
      const outputs = await timed(first, feeds);
      for (const other of others) await timed(other, feeds);
      return outputs;
    },
    async settle() {
      if (chosen !== undefined) return chosen.provider;
      const all = [first, ...others];
      const fastest = all.reduce((best, each) =>
        (lastMs.get(each) ?? Infinity) < (lastMs.get(best) ?? Infinity) ? each : best,
      );
      chosen = fastest;
      for (const each of all) if (each !== fastest) await each.release();
      return fastest.provider;
    },
  };
}
