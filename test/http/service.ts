import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createCaptioner } from '../../src/captioner/captioner.js';
import { type Environment, readConfig } from '../../src/config.js';
import { buildServer } from '../../src/http/server.js';
import { chooseProtocols } from '../../src/protocols/list.js';
import { createImageFetcher } from '../../src/images/fetch-image.js';
import { createInProcessDecoder } from '../images/in-process-decoder.js';
import { createFakeScheduler, type FakeScheduler } from './fake-scheduler.js';

export interface Service {
  readonly app: FastifyInstance;
  readonly scheduler: FakeScheduler;
  /** `http://127.0.0.1:…`, without a slash at the end. */
  readonly url: string;
  /** Everything logged so far. */
  readonly log: () => string;
}

/**
 * The HTTP side, the captioner and the image decoder around a fake scheduler, listening on a free port until the test
 * ends. Nothing is cached, so each image reaches the model.
 */
export async function startService(t: TestContext, environment: Environment = {}): Promise<Service> {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  const config = readConfig(environment);
  const { urlImageHosts: hosts, urlImageNetworks: networks } = config;
  const scheduler = createFakeScheduler();
  const captioner = createCaptioner({
    decoder: createInProcessDecoder(config),
    fetchImage: config.allowUrlImages ? createImageFetcher({ hosts, networks }) : undefined,
    maxFetchedBytes: config.maxBodyBytes,
  });
  const app = await buildServer({
    config,
    captioner,
    scheduler,
    logger: pino({ level: 'trace' }, stream),
    registry: new Registry(),
    protocols: chooseProtocols(config.protocols),
  });
  t.after(() => app.close());
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return { app, scheduler, url, log: () => lines.join('') };
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
