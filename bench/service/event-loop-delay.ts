/**
 * The 99th percentile of the serving process's event-loop delay since the last call, from /metrics, whose reading
 * resets it. About 10 ms of it is the interval of the timer it is measured with. Undefined when it is not exposed.
 * @returns milliseconds
 */
export async function eventLoopDelayP99(url: string): Promise<number | undefined> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const seconds = /^nodejs_eventloop_lag_p99_seconds (\S+)$/m.exec(metrics)?.[1];
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}
