import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { json } from '../http/service.js';
import { photos } from '../photos.js';
import { runCommand, startCommand } from '../run-command.js';
import { RunningService } from '../running-service.js';
import { JobClient, readParts } from './job-service.js';
import { freePort, startRedis } from './queue-server.js';

const count = 20;

async function album(t: TestContext): Promise<{ root: string; files: Buffer[] }> {
  const root = await mkdtemp(join(tmpdir(), 'pcm-caption-jobs-'));
  t.after(() => rm(root, { recursive: true, force: true }));
  await mkdir(join(root, 'album'));
  const files = await photos(count);
  for (const [index, file] of files.entries()) {
    await writeFile(join(root, 'album', `${100 + index}.jpg`), file);
  }
  return { root, files };
}

async function stop(service: RunningService): Promise<void> {
  service.child.kill('SIGTERM');
  assert.equal(await service.exited, 0);
}

test('the service itself works on jobs, and captions their images as it does those of requests', async (t) => {
  const { root, files } = await album(t);
  const redis = await startRedis(t);
  const service = await RunningService.start({ QUEUE_URL: redis.url, JOBS_ROOT: root, CACHE_SIZE: '0' });
  const client = new JobClient(service.url);
  const id = await client.start({
    source: { prefix: 'album/' },
    options: { candidates: 1 },
    output: 'results',
  });
  const job = await client.ended(id);
  assert.deepEqual([job['status'], job['images']], ['done', { total: count, captioned: count, failed: 0 }]);
  const results = await readParts(join(root, 'results'));
  for (const [index, file] of files.entries()) {
    const { caption } = await json(await service.caption(file, ['candidates', '1']));
    const { result } = results[index] ?? {};
    assert.deepEqual({ caption }, { caption: Object.assign({ caption: '' }, result).caption });
  }
  assert.equal(await service.metric('pcm_caption_job_images_total{outcome="captioned"}'), count);
  assert.match(await (await fetch(`${service.url}/openapi.json`)).text(), /"\/v1\/jobs"/);
  await stop(service);
});

test('a worker does the work of a service that only takes orders; it serves health, and ends with SIGTERM', async (t) => {
  const { root } = await album(t);
  const redis = await startRedis(t);
  const environment = { QUEUE_URL: redis.url, JOBS_ROOT: root, PORT: '0' };
  const service = await RunningService.start({ ...environment, JOBS_WORKER: 'false' });
  const client = new JobClient(service.url);
  const id = await client.start({ source: { prefix: 'album/' }, output: 'results' });
  const worker = startCommand('cli', ['worker'], { environment });
  const exited = once(worker, 'close');
  const url = await new Promise<string>((resolve) => {
    createInterface(worker.stdout).on('line', (line) => {
      const found = /Server listening at (http:[^"]+)/.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
  });
  assert.equal((await client.ended(id))['status'], 'done');
  assert.equal((await fetch(`${url}/readyz`)).status, 200);
  assert.equal((await fetch(`${url}/v1/captions`, { method: 'POST' })).status, 404);
  worker.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
  await stop(service);
});

test('a service whose queue server is away captions images, and says of jobs what is wrong', async () => {
  const service = await RunningService.start({
    QUEUE_URL: `redis://127.0.0.1:${await freePort()}`,
    JOBS_ROOT: tmpdir(),
  });
  const response = await fetch(`${service.url}/v1/jobs/some-id`);
  assert.deepEqual([response.status, (await json(response))['code']], [503, 'queue_unavailable']);
  const [photo] = await photos(1);
  assert.equal((await service.caption(photo ?? Buffer.alloc(0))).status, 200);
  assert.match(service.log, /the queue server does not answer/);
  await stop(service);
});

test('a worker without a queue server to take jobs from does not start', async () => {
  const { code, stderr } = await runCommand('cli', ['worker'], { environment: { QUEUE_URL: '' } });
  assert.equal(code, 1);
  assert.equal(stderr, 'pcm-caption: QUEUE_URL must be set: a worker takes its jobs from there\n');
});
