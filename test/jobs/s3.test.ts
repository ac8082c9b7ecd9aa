import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readObject } from '../../src/library/storage.js';
import { json } from '../http/service.js';
import { assertEachOnce, JobClient, kill, linesOf, startScript } from './job-service.js';
import { type KillableServer, startRedis, startServer } from './queue-server.js';

const credentials = {
  AWS_ACCESS_KEY_ID: 'tests',
  AWS_SECRET_ACCESS_KEY: 'of-pcm-caption',
  AWS_REGION: 'us-east-1',
};

/** A server of S3 over a folder, with a bucket of images and one for results. */
async function startS3(
  t: TestContext,
  images: number,
): Promise<KillableServer & { environment: Record<string, string> }> {
  let objects = '';
  const server = await startServer(
    t,
    (port, folder) => {
      objects = folder;
      return ['versitygw', ['--port', `127.0.0.1:${port}`, 'posix', folder]];
    },
    { ROOT_ACCESS_KEY: credentials.AWS_ACCESS_KEY_ID, ROOT_SECRET_KEY: credentials.AWS_SECRET_ACCESS_KEY },
  );
  await mkdir(join(objects, 'results'));
  await mkdir(join(objects, 'album'));
  for (let index = 0; index < images; index++) {
    await writeFile(join(objects, 'album', `${10_000 + index}.jpg`), `photo ${index}`);
  }
  const environment = { ...credentials, AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${server.port}` };
  return { ...server, environment };
}

test('the server of S3 is killed in the middle of a job, and each image has one result', async (t) => {
  const images = 5000;
  const redis = await startRedis(t);
  const s3 = await startS3(t, images);
  const environment = {
    ...s3.environment,
    QUEUE_URL: redis.url,
    JOBS_BUCKETS: 'album,results/captions',
    PORT: '0',
    DELAY_MS: '5',
    CONCURRENCY: '16',
  };
  const service = await startScript('service-process', environment);
  const workers = [
    await startScript('worker-process', environment),
    await startScript('worker-process', environment),
  ];
  t.after(async () => {
    for (const { child } of [service, ...workers]) await kill(child);
  });
  const client = new JobClient(service.line);
  const id = await client.start({ source: { prefix: 's3://album/' }, output: 's3://results/captions/one' });
  for (const done of [500, 2500]) {
    await client.hasDone(id, done);
    await s3.kill();
    await sleep(1000);
    await s3.start();
  }
  const job = await client.ended(id);
  assert.deepEqual([job['status'], job['images']], ['done', { total: images, captioned: images, failed: 0 }]);

  const download = await fetch(`${client.url}/v1/jobs/${id}/results`, {
    headers: { accept: 'application/x-ndjson' },
  });
  const lines = linesOf(await download.text());
  assertEachOnce(lines, images);
  Object.assign(process.env, s3.environment);
  const part = await readObject('s3://results/captions/one/parts/00049.ndjson', { maxBytes: 1_000_000 });
  assert.deepEqual(linesOf(part.toString('utf8')), lines.slice(4900));

  const elsewhere = await client.submit({ source: { prefix: 's3://album/' }, output: 's3://results/other' });
  assert.deepEqual([elsewhere.status, (await json(elsewhere))['code']], [403, 'forbidden']);
});

test('a bucket that a worker may not write ends the job with a clear error, and a missing one its order', async (t) => {
  const redis = await startRedis(t);
  const s3 = await startS3(t, 300);
  const environment = {
    ...s3.environment,
    QUEUE_URL: redis.url,
    JOBS_BUCKETS: 'album,results,none',
    PORT: '0',
  };
  const service = await startScript('service-process', environment);
  const denied = await startScript('worker-process', { ...environment, AWS_SECRET_ACCESS_KEY: 'another' });
  t.after(() => kill(service.child));
  const client = new JobClient(service.line);
  const order = { source: { prefix: 's3://album/' }, output: 's3://results/one' };
  const job = await client.ended(await client.start(order));
  const { code, detail } = Object.assign({ code: '', detail: '' }, job['problem']);
  assert.deepEqual([job['status'], code], ['failed', 'forbidden']);
  assert.match(detail, /S3 does not allow it/);
  await kill(denied.child);

  const missing = await client.submit({ ...order, output: 's3://none/one' });
  assert.deepEqual([missing.status, (await json(missing))['code']], [404, 'not_found']);

  // Sent again once the worker may write, the order goes on.
  const allowed = await startScript('worker-process', environment);
  t.after(() => kill(allowed.child));
  assert.equal((await client.ended(await client.start(order)))['status'], 'done');
});
