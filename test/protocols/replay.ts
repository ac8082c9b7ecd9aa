import assert from 'node:assert/strict';
import { test } from 'node:test';
import sharp from 'sharp';
import { type Service, startService } from '../http/service.js';

/**
 * Requests as programs send them, written from their sources, and what those programs read of the answer. The model of these
 * tests says of the red picture "A red picture, best of all", with confidence 0.75 and the tags red and picture.
 */

const file = await sharp({ create: { width: 64, height: 48, channels: 3, background: '#c03020' } })
  .jpeg()
  .toBuffer();
/** The red picture. */
export const image = {
  file,
  base64: file.toString('base64'),
  dataUrl: `data:image/jpeg;base64,${file.toString('base64')}`,
};
export const caption = 'A red picture, best of all';

export interface Sent {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer | FormData;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The members of a JSON answer. Throws where it is none. */
  readonly body: Record<string, unknown>;
}

/** POSTs JSON; `path` may begin with another method, as in `GET /api/tags`. */
export async function ask(
  { url }: Pick<Service, 'url'>,
  call: string,
  body?: object,
  init: Sent = {},
): Promise<Answer> {
  const [method = '', path = ''] = call.includes(' ') ? call.split(' ') : ['POST', call];
  const sent =
    body === undefined
      ? init
      : {
          ...init,
          headers: { 'content-type': 'application/json', ...init.headers },
          body: JSON.stringify(body),
        };
  const response = await fetch(`${url}${path}`, { method, ...sent });
  const text = await response.clone().text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    get body() {
      const value: unknown = JSON.parse(text);
      assert.ok(typeof value === 'object' && value !== null);
      return Object.fromEntries(Object.entries(value));
    },
  };
}

/** One request of a program, and what it reads. */
export interface Replay {
  /** The program, and what it wants: the test's name. */
  readonly of: string;
  readonly call: string;
  readonly body?: object;
  readonly init?: Sent;
  readonly reads: (answer: Answer) => void;
}

/** Declares a test for each request. */
export function replay(protocol: string, replays: readonly Replay[]): void {
  for (const { of, call, body, init, reads } of replays) {
    test(`${protocol}: ${of}`, async (t) => {
      reads(await ask(await startService(t), call, body, init));
    });
  }
}

/** What a path of names and indexes leads to. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((each, name) => {
    assert.ok(typeof each === 'object' && each !== null, `there is nothing at ${path.join('.')}`);
    return Object.entries(each).find(([key]) => key === String(name))?.[1];
  }, value);
}
