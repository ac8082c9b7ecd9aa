import { BenchError } from '../figures/figure.js';
import type { CaptionClient, RequestTiming } from './caption-client.js';
import { runClosedLoop } from './closed-loop.js';
import { eventLoopDelayP99 } from './event-loop-delay.js';
import { memoryOfTree } from './process-memory.js';
import type { RunningService } from './running-service.js';

/** What some seconds at one concurrency showed. */
export interface ServiceWindow {
  readonly imagesPerSecond: number;
  readonly latenciesMs: readonly number[];
  /** As the answers tell it: of the batch, for the stages that batches share. */
  readonly timings: readonly RequestTiming[];
  /** 99th percentile of the serving process; see `eventLoopDelayP99`. */
  readonly eventLoopDelayMs: number | undefined;
  /** Of all processes of the service, right after the window. */
  readonly memoryBytes: number | undefined;
  /** Cores that the client kept busy meanwhile, which the service did not have. */
  readonly clientCores: number;
}

/** @throws BenchError when an answer is not 200 */
export async function measureService(
  service: Pick<RunningService, 'url' | 'pid'>,
  client: CaptionClient,
  concurrency: number,
  windowMs: number,
): Promise<ServiceWindow> {
  let cpu = process.cpuUsage();
  let openedMs = 0;
  let clientCores = 0;
  let eventLoopDelayMs: number | undefined;
  let memoryBytes: number | undefined;
  const { answers, imagesPerSecond } = await runClosedLoop({
    client,
    concurrency,
    windowMs,
    async onOpen() {
      await eventLoopDelayP99(service.url); // begins afresh
      openedMs = performance.now();
      cpu = process.cpuUsage();
    },
    async onClose() {
      const { user, system } = process.cpuUsage(cpu);
      clientCores = (user + system) / 1000 / (performance.now() - openedMs);
      eventLoopDelayMs = await eventLoopDelayP99(service.url);
      // Not within the window: reading it stops the process it is about for some milliseconds.
      memoryBytes = await memoryOfTree(service.pid);
    },
  });
  return {
    imagesPerSecond,
    latenciesMs: answers.map(({ latencyMs }) => latencyMs),
    timings: answers.map(({ status, timing }) => {
      if (timing === undefined)
        throw new BenchError(`the service answered ${status} at concurrency ${concurrency}`);
      return timing;
    }),
    eventLoopDelayMs,
    memoryBytes,
    clientCores,
  };
}
