import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, CaptionClient } from './caption-client.js';

export interface OpenLoopOptions {
  readonly client: CaptionClient;
  /** Requests begun a second, whatever becomes of those before them. */
  readonly perSecond: number;
  /** How long requests are sent before anything is counted, and how long it is counted then. */
  readonly leadMs: number;
  readonly windowMs: number;
  /** Called when the counting begins and when it is over, while requests still run. */
  readonly onOpen?: () => Promise<void>;
  readonly onClose?: () => Promise<void>;
}

export interface OpenLoopResult {
  /** To all requests, those of the lead and those that were answered after the end among them. */
  readonly answers: readonly Answer[];
  readonly sentPerSecond: number;
  /** Answers with status 200 in the window. */
  readonly completedPerSecond: number;
}

/** Sends requests at a rate, as many clients that know nothing of each other do, and waits for all answers. */
export async function runOpenLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const { client, perSecond, leadMs, windowMs, onOpen, onClose } = options;
  const pending: Promise<Answer>[] = [];
  let isCounting = false;
  let completed = 0;
  let failure: unknown;

  function send(): void {
    const answer = client();
    pending.push(answer);
    answer.then(
      ({ status }) => {
        if (isCounting && status === 200) completed += 1;
      },
      (error: unknown) => {
        failure ??= error;
      },
    );
  }

  /** Keeps to the rate over the whole of the time, though timers are late. */
  async function sendFor(ms: number): Promise<void> {
    const began = performance.now();
    let sent = 0;
    for (let elapsed = 0; elapsed < ms && failure === undefined; elapsed = performance.now() - began) {
      for (; sent < (elapsed * perSecond) / 1000; sent += 1) send();
      await sleep(1000 / perSecond);
    }
  }

  await sendFor(leadMs);
  await onOpen?.();
  isCounting = true;
  const openedAt = performance.now();
  const sentBefore = pending.length;
  await sendFor(windowMs);
  isCounting = false;
  const seconds = (performance.now() - openedAt) / 1000;
  const sent = pending.length - sentBefore;
  await onClose?.();
  const answers = await Promise.all(pending);
  return { answers, sentPerSecond: sent / seconds, completedPerSecond: completed / seconds };
}
