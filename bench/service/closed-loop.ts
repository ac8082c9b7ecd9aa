import { setTimeout as sleep } from 'node:timers/promises';
import { mean } from '../measure/statistics.js';
import type { Answer, CaptionClient } from './caption-client.js';

export interface ClosedLoopOptions {
  readonly client: CaptionClient;
  /** Requests side by side. */
  readonly concurrency: number;
  /** How long answers are counted. */
  readonly windowMs: number;
  /** Called when the counting begins and when it is over, while requests still run. */
  readonly onOpen?: () => Promise<void>;
  readonly onClose?: () => Promise<void>;
}

export interface ClosedLoopResult {
  /** Answers that came while they were counted. */
  readonly answers: readonly Answer[];
  readonly imagesPerSecond: number;
}

/**
 * Keeps that many requests in flight: each answer is followed by the next request at once.
 *
 * Counting begins once each of them has been answered, so the rush at the start is left out, and so are the last
 * requests, which run ever more alone. images/s is concurrency ÷ mean latency (Little's law): answers come in
 * bursts of a batch, and counting them between two instants would be off by up to a batch at either end.
 */
export async function runClosedLoop(options: ClosedLoopOptions): Promise<ClosedLoopResult> {
  const { client, concurrency, windowMs, onOpen, onClose } = options;
  const answers: Answer[] = [];
  const over = new AbortController();
  let isCounting = false;
  let answered = 0;
  let window: Promise<void> | undefined;

  async function count(): Promise<void> {
    await onOpen?.();
    isCounting = true;
    await sleep(windowMs, undefined, { signal: over.signal });
    // However slow the machine, there is something to count.
    while (answers.length < concurrency) await sleep(windowMs / 10, undefined, { signal: over.signal });
    isCounting = false;
    await onClose?.();
  }

  async function askRepeatedly(): Promise<void> {
    while (!over.signal.aborted) {
      const answer = await client();
      answered += 1;
      if (isCounting) answers.push(answer);
      if (answered >= concurrency)
        window ??= count().finally(() => {
          over.abort();
        });
    }
  }

  try {
    await Promise.all(Array.from({ length: concurrency }, askRepeatedly));
    await window;
  } finally {
    over.abort();
  }
  const latencies = answers.map(({ latencyMs }) => latencyMs);
  return { answers, imagesPerSecond: (1000 * concurrency) / mean(latencies) };
}
