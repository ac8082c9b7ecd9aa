import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { buildApp } from '../../src/app.js';
import { type Environment, readConfig } from '../../src/config.js';
import { createFakeEngine, type FakeEngine } from './fake-engine.js';

export interface Service {
  readonly app: FastifyInstance;
  readonly engine: FakeEngine;
  /** `http://127.0.0.1:…`, without a slash at the end. */
  readonly url: string;
  /** Everything logged so far. */
  readonly log: () => string;
}

/** The HTTP side around a fake engine, listening on a free port until the test ends. */
export async function startService(t: TestContext, environment: Environment = {}): Promise<Service> {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  const engine = createFakeEngine();
  const app = await buildApp({
    config: readConfig(environment),
    engine,
    logger: pino({ level: 'trace' }, stream),
    registry: new Registry(),
  });
  t.after(() => app.close());
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return { app, engine, url, log: () => lines.join('') };
}

/** The members of a JSON answer. */
export async function json(response: Response): Promise<Record<string, unknown>> {
  const value: unknown = await response.json();
  assert.ok(typeof value === 'object' && value !== null);
  return Object.fromEntries(Object.entries(value));
}

export function formOf(
  ...parts: readonly (readonly [name: string, value: string | Buffer, file?: string])[]
): FormData {
  const form = new FormData();
  for (const [name, value, file] of parts) {
    if (typeof value === 'string') form.append(name, value);
    else form.append(name, new Blob([value]), file ?? 'photo.jpg');
  }
  return form;
}
