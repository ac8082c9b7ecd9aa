/** `timing` of an answer: stages in milliseconds, named …Ms. */
export type Timing = Readonly<Record<`${string}Ms`, number>> & { readonly cached: boolean };

/**
 * The times of an answer as a Server-Timing header (W3C), which browsers' tools and tracing proxies show beside their
 * own: `queue;dur=2.61, decode;dur=12.75, …`, and `cached` before them where it is.
 */
export function serverTiming({ cached, ...stages }: Timing): string {
  const durations = Object.entries(stages).map(([name, ms]) => `${name.replace(/Ms$/, '')};dur=${ms}`);
  return [...(cached ? ['cached'] : []), ...durations].join(', ');
}
