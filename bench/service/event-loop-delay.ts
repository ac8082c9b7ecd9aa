/**
 * The serving process's event-loop delay since the last call, from /metrics, whose reading resets it. About 10 ms of it
 * is the interval of the timer it is measured with. Undefined when it is not exposed.
 * @returns milliseconds
 */
export async function eventLoopDelay(url: string): Promise<{ p99: number; longest: number } | undefined> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const [p99, longest] = ['p99', 'max'].map(
    (name) => new RegExp(`^nodejs_eventloop_lag_${name}_seconds (\\S+)$`, 'm').exec(metrics)?.[1],
  );
  if (p99 === undefined || longest === undefined) return undefined;
  return { p99: Number(p99) * 1000, longest: Number(longest) * 1000 };
}

/** The 99th percentile of `eventLoopDelay`. */
export async function eventLoopDelayP99(url: string): Promise<number | undefined> {
  return (await eventLoopDelay(url))?.p99;
}
