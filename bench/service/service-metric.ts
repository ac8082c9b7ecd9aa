import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError } from '../figures/figure.js';

/** The sum of all values of a metric, whatever their labels; 0 where there is none yet. */
export async function serviceMetric(url: string, name: string): Promise<number> {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n');
  return lines
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

/**
 * Resolves once no slot is taken: a client that leaves frees its slot, be it a little later.
 * @throws BenchError when slots stay taken for a minute
 */
export async function slotsAreFree(url: string): Promise<void> {
  const deadline = performance.now() + 60_000;
  while ((await serviceMetric(url, 'pcm_caption_slots_used')) > 0) {
    if (performance.now() > deadline)
      throw new BenchError('slots stay taken though nobody asks for anything');
    await sleep(200);
  }
}
