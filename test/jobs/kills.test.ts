import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { json } from '../http/service.js';
import { type HookReceiver, hookSecret, startHookReceiver } from './hook-receiver.js';
import { assertEachOnce, JobClient, kill, makeRoot, readParts, startScript } from './job-service.js';
import { freePort, type QueueServer, startPostgres, startRedis } from './queue-server.js';

const images = 5000;
/** Each worker captions some 800 images a second, so that a job lasts for seconds. */
const worker = { DELAY_MS: '20', CONCURRENCY: '16' };

async function prepare(t: TestContext, startQueue: (t: TestContext) => Promise<QueueServer> = startRedis) {
  const queue = await startQueue(t);
  const root = await makeRoot(t, images);
  const hooks = await startHookReceiver(t);
  const environment = {
    QUEUE_URL: queue.url,
    JOBS_ROOT: root,
    WEBHOOK_SECRET: hookSecret,
    WEBHOOK_NETWORKS: '127.0.0.0/8',
    PORT: String(await freePort()),
    ...worker,
  };
  const running: ChildProcess[] = [];
  const run = async (name: string) => {
    const started = await startScript(name, environment);
    running.push(started.child);
    return started;
  };
  t.after(async () => {
    for (const child of running) if (child.exitCode === null && child.signalCode === null) await kill(child);
  });
  const order = { source: { prefix: 'album/' }, output: 'results', webhook: hooks.url };
  return { queue, root, hooks, order, run, output: join(root, 'results') };
}

/** The job is done, each image has one result, and the web hook came; it may come twice, and then says so by its id. */
async function assertDone(job: Record<string, unknown>, output: string, hooks: HookReceiver): Promise<void> {
  assert.deepEqual([job['status'], job['images']], ['done', { total: images, captioned: images, failed: 0 }]);
  assertEachOnce(await readParts(output), images);
  await hooks.until(1);
  assert.deepEqual([...new Set(hooks.received.map(({ id }) => id))], [`${String(job['id'])}-ended`]);
}

test('workers are killed in the middle of a job, and each image has one result', async (t) => {
  const { hooks, order, run, output } = await prepare(t);
  const client = new JobClient((await run('service-process')).line);
  let victim = await run('worker-process');
  await run('worker-process');
  const id = await client.start(order);
  for (const done of [400, 1200, 2000]) {
    await client.hasDone(id, done);
    await kill(victim.child);
    victim = await run('worker-process');
  }
  await assertDone(await client.ended(id), output, hooks);
});

for (const [name, startQueue] of [
  ['Redis', startRedis],
  ['PostgreSQL', startPostgres],
] as const) {
  test(`${name} is killed and started again, and each image has one result`, async (t) => {
    const { queue, hooks, order, run, output } = await prepare(t, startQueue);
    const client = new JobClient((await run('service-process')).line);
    await run('worker-process');
    await run('worker-process');
    const id = await client.start(order);
    for (const done of [500, 2500]) {
      await client.hasDone(id, done);
      await queue.kill();
      const response = await fetch(`${client.url}/v1/jobs/${id}`);
      assert.equal(response.status, 503);
      assert.ok(Number(response.headers.get('retry-after')) > 0);
      await queue.start();
    }
    await assertDone(await client.ended(id), output, hooks);
  });
}

test('the submitting service is killed, also while it takes the order, and there is one job', async (t) => {
  const { hooks, order, run, output } = await prepare(t);
  let service = await run('service-process');
  const client = new JobClient(service.line);
  // Killed at another moment each time; whoever gets no answer sends the order again with its key.
  const seen = new Set<unknown>();
  for (const ms of [1, 5, 10, 20, 50]) {
    const submitted = client
      .submit(order, 'one and the same')
      .then(json)
      .then(
        ({ id }) => seen.add(id),
        () => undefined,
      );
    await sleep(ms);
    await kill(service.child);
    await submitted;
    service = await run('service-process');
  }
  const { id } = await json(await client.submit(order, 'one and the same'));
  seen.add(id);
  assert.equal(seen.size, 1);
  await run('worker-process');
  await client.hasDone(String(id), 500);
  await kill(service.child);
  await run('service-process');
  await assertDone(await client.ended(String(id)), output, hooks);
});

test('a web hook arrives though its receiver fails and the worker that sent it is killed', async (t) => {
  const { hooks, order, run } = await prepare(t);
  const client = new JobClient((await run('service-process')).line);
  const first = await run('worker-process');
  hooks.answers.push(500);
  const id = await client.start({ ...order, source: { urls: ['album/1.jpg'] } });
  await client.ended(id);
  while (hooks.answers.length > 0) await sleep(20);
  await kill(first.child);
  await run('worker-process');
  await hooks.until(1);
  assert.deepEqual(
    hooks.received.map(({ type, data }) => [type, data['id']]),
    [['job.done', id]],
  );
});

test('two jobs share the workers: the second is not behind the end of the first, nor does it hold it up', async (t) => {
  const { order, run } = await prepare(t);
  const client = new JobClient((await run('service-process')).line);
  await run('worker-process');
  const first = await client.start(order);
  await client.hasDone(first, 1000);
  const second = await client.start({ ...order, output: 'others' });
  await client.hasDone(second, 1500);
  const { images: between } = await client.get(first);
  const { captioned } = Object.assign({ captioned: 0 }, between);
  // They take turns; what was under way when the second came makes the difference.
  assert.ok(captioned >= 2000 && captioned <= 3500, `${captioned} images of the first job`);
  await client.cancel(first);
  await client.cancel(second);
  assert.equal((await client.ended(first))['status'], 'cancelled');
});
