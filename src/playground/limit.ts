/** Returns a function that runs tasks at most `concurrency` at a time, in the order they came. */
export function createLimit(concurrency: number): <T>(task: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (task) => {
    if (running < concurrency) running++;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await task();
    } finally {
      // The place goes to the next in line, so nobody who comes later can take it.
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };
}
