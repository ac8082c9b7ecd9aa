import { createHmac } from 'node:crypto';
import type { Job } from 'bullmq';
import type { PostJson } from '../images/post-json.js';
import type { HookData } from './job.js';

export interface HookDeps {
  /** Key of the signatures. */
  readonly secret: Buffer;
  readonly post: PostJson;
  readonly now: () => number;
}

/** A receiver that takes longer is asked again. */
const maxPostMs = 15_000;

/**
 * Sends a web hook, signed as the Standard Webhooks specification says: the receiver knows by `webhook-id` what it has
 * had before, since a message may come twice.
 *
 * @throws Error when the receiver does not answer with a status of 200 to 299: the queue then tries again
 */
export async function sendHook(
  { id = '', data }: Pick<Job<HookData>, 'id' | 'data'>,
  deps: HookDeps,
): Promise<void> {
  const { secret, post, now } = deps;
  const seconds = Math.floor(now() / 1000);
  const body = JSON.stringify({ type: data.event, timestamp: data.document.finishedAt, data: data.document });
  const status = await post(data.url, {
    body,
    headers: {
      'webhook-id': id,
      'webhook-timestamp': String(seconds),
      'webhook-signature': `v1,${signatureOf(secret, `${id}.${seconds}.${body}`)}`,
    },
    signal: AbortSignal.timeout(maxPostMs),
  });
  if (status < 200 || status > 299) throw new Error(`the web hook was answered with status ${status}`);
}

export function signatureOf(secret: Buffer, text: string): string {
  return createHmac('sha256', secret).update(text).digest('base64');
}

/** The key of the setting WEBHOOK_SECRET: `whsec_` and base64, or any text. */
export function hookKey(secret: string): Buffer {
  return secret.startsWith('whsec_')
    ? Buffer.from(secret.slice('whsec_'.length), 'base64')
    : Buffer.from(secret);
}
