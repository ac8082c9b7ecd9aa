import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { killAtExit } from '../run-command.js';
import { json } from '../http/service.js';

/** The calls of jobs of a service that listens. */
export class JobClient {
  constructor(readonly url: string) {}

  submit(order: object, key?: string): Promise<Response> {
    return fetch(`${this.url}/v1/jobs`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(key !== undefined && { 'idempotency-key': key }) },
      body: JSON.stringify(order),
    });
  }

  /** The id of a new job. */
  async start(order: object, key?: string): Promise<string> {
    const response = await this.submit(order, key);
    const job = await json(response);
    assert.equal(response.status, 201, JSON.stringify(job));
    return String(job['id']);
  }

  async get(id: string, part = ''): Promise<Record<string, unknown>> {
    return json(await fetch(`${this.url}/v1/jobs/${id}${part}`));
  }

  /** The job once a condition holds, which is looked at twenty times a second. */
  async until(
    id: string,
    condition: (job: Record<string, unknown>) => boolean,
  ): Promise<Record<string, unknown>> {
    for (;;) {
      const job = await this.get(id).catch(() => ({}));
      if (condition(job)) return job;
      await sleep(50);
    }
  }

  ended(id: string): Promise<Record<string, unknown>> {
    return this.until(id, ({ status }) => ['done', 'failed', 'cancelled'].includes(String(status)));
  }

  /** The job once some images are done. */
  hasDone(id: string, images: number): Promise<Record<string, unknown>> {
    return this.until(id, (job) => captionedOf(job) >= images);
  }

  async cancel(id: string): Promise<Record<string, unknown>> {
    return json(await fetch(`${this.url}/v1/jobs/${id}`, { method: 'DELETE' }));
  }
}

function captionedOf(job: Record<string, unknown>): number {
  const { images } = job;
  return typeof images === 'object' && images !== null && 'captioned' in images
    ? Number(images.captioned)
    : 0;
}

/** A folder for jobs, with images that are a text each. */
export async function makeRoot(t: TestContext, images: number): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'pcm-caption-jobs-'));
  t.after(() => rm(root, { recursive: true, force: true, maxRetries: 3 }));
  await mkdir(join(root, 'album'));
  for (let index = 0; index < images; index++)
    await writeFile(join(root, 'album', `${index}.jpg`), `photo ${index}`);
  return root;
}

/** Starts one of the compiled scripts of this folder; resolves once it prints a line, with that line. */
export async function startScript(
  name: string,
  environment: Readonly<Record<string, string>>,
): Promise<{ child: ChildProcess; line: string }> {
  const file = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  const child = spawn(process.execPath, ['--enable-source-maps', file], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  killAtExit(child);
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', (chunk) => {
      resolve(String(chunk).trim());
    });
    child.once('exit', (code) => {
      reject(new Error(`${name} ended with ${String(code)}`));
    });
  });
  return { child, line };
}

export async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** Checks that the parts have each image once, and returns their lines. */
export async function readParts(output: string): Promise<Record<string, unknown>[]> {
  const folder = join(output, 'parts');
  const names = (await readdir(folder)).filter((name) => !name.startsWith('.')).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
  return texts.flatMap(linesOf);
}

export function linesOf(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const value: unknown = JSON.parse(line);
      assert.ok(typeof value === 'object' && value !== null);
      return Object.fromEntries(Object.entries(value));
    });
}

export function assertEachOnce(lines: readonly Record<string, unknown>[], images: number): void {
  assert.equal(lines.length, images);
  assert.equal(new Set(lines.map(({ source }) => source)).size, images);
  assert.deepEqual(
    lines.map(({ index }) => index),
    Array.from({ length: images }, (_, index) => index),
  );
}
