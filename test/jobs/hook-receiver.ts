import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { TestContext } from 'node:test';
import { signatureOf } from '../../src/jobs/web-hooks.js';

export const hookSecret = 'a secret of at least 24 characters';

export interface ReceivedHook {
  readonly id: string;
  readonly type: unknown;
  readonly data: Record<string, unknown>;
}

export interface HookReceiver {
  readonly url: string;
  readonly received: readonly ReceivedHook[];
  /** Status of the next answers; 200 when they are used up. */
  readonly answers: number[];
  /** Resolves when so many have come. */
  until(count: number): Promise<void>;
}

/** Checks the signature of all that comes. */
export async function startHookReceiver(t: TestContext): Promise<HookReceiver> {
  const received: ReceivedHook[] = [];
  const answers: number[] = [];
  const changes = new EventTarget();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8');
      const id = String(request.headers['webhook-id']);
      const text = `${id}.${String(request.headers['webhook-timestamp'])}.${body}`;
      assert.equal(request.headers['webhook-signature'], `v1,${signatureOf(Buffer.from(hookSecret), text)}`);
      const status = answers.shift() ?? 200;
      if (status === 200) {
        const { type, data } = Object.fromEntries(Object.entries(asObject(JSON.parse(body))));
        received.push({ id, type, data: asObject(data) });
      }
      response.writeHead(status).end();
      changes.dispatchEvent(new Event('change'));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('a server has no port');
  return {
    url: `http://127.0.0.1:${address.port}/hook`,
    received,
    answers,
    async until(count) {
      while (received.length < count) await once(changes, 'change');
    },
  };
}

function asObject(value: unknown): Record<string, unknown> {
  assert.ok(typeof value === 'object' && value !== null);
  return Object.fromEntries(Object.entries(value));
}
