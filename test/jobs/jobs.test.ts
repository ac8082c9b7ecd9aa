import assert from 'node:assert/strict';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { json } from '../http/service.js';
import { hookSecret, startHookReceiver } from './hook-receiver.js';
import { assertEachOnce, JobClient, kill, makeRoot, readParts, startScript } from './job-service.js';
import { startPostgres, startRedis } from './queue-server.js';

interface Started {
  readonly client: JobClient;
  readonly root: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** Redis, a service that takes orders, and a worker, over a folder of images. */
async function start(t: TestContext, images: number, more: Record<string, string> = {}): Promise<Started> {
  const redis = await startRedis(t);
  const root = await makeRoot(t, images);
  const environment = {
    QUEUE_URL: redis.url,
    JOBS_ROOT: root,
    WEBHOOK_SECRET: hookSecret,
    WEBHOOK_NETWORKS: '127.0.0.0/8',
    PORT: '0',
    ...more,
  };
  const service = await startScript('service-process', environment);
  const worker = await startScript('worker-process', environment);
  t.after(async () => {
    await kill(service.child);
    await kill(worker.child);
  });
  return { client: new JobClient(service.line), root, environment };
}

test('a folder becomes parts of results, and a poisoned image fails alone', async (t) => {
  const { client, root } = await start(t, 250);
  await writeFile(join(root, 'album', '7.jpg'), 'poison');
  const hooks = await startHookReceiver(t);
  hooks.answers.push(503);
  const id = await client.start({ source: { prefix: 'album/' }, output: 'results', webhook: hooks.url });
  const job = await client.ended(id);
  assert.deepEqual(
    [job['status'], job['images'], job['shards']],
    ['done', { total: 250, captioned: 249, failed: 1 }, { total: 3, done: 3 }],
  );
  const lines = await readParts(join(root, 'results'));
  assertEachOnce(lines, 250);
  const failures = lines.filter((line) => 'error' in line);
  assert.deepEqual(failures, [
    {
      index: 7,
      source: join(root, 'album', '7.jpg'),
      error: {
        code: 'image_unreadable',
        title: 'The image cannot be read',
        detail: 'The image is cut short.',
      },
    },
  ]);
  assert.deepEqual(await client.get(id, '/failures'), { results: failures });

  for (const [start, end, next] of [
    [0, 90, 90],
    [90, 180, 180],
    [180, 250, undefined],
  ] as const) {
    assert.deepEqual(await client.get(id, `/results?start=${start}&limit=90`), {
      results: lines.slice(start, end),
      ...(next !== undefined && { next }),
    });
  }
  const download = await fetch(`${client.url}/v1/jobs/${id}/results`, {
    headers: { accept: 'application/x-ndjson' },
  });
  assert.equal(download.headers.get('content-type'), 'application/x-ndjson');
  assert.equal(await download.text(), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));

  // The first answer was 503.
  await hooks.until(1);
  assert.deepEqual(
    hooks.received.map(({ type, data }) => [type, data['id'], data['images']]),
    [['job.done', id, { total: 250, captioned: 249, failed: 1 }]],
  );
});

test('the same Idempotency-Key makes one job, and is refused with another order', async (t) => {
  const { client } = await start(t, 5);
  const order = { source: { prefix: 'album/' }, output: 'results' };
  const id = await client.start(order, 'first');
  const again = await client.submit(order, 'first');
  assert.equal(again.status, 200);
  assert.equal((await json(again))['id'], id);
  const other = await client.submit({ ...order, options: { candidates: 1 } }, 'first');
  assert.deepEqual([other.status, (await json(other))['code']], [422, 'idempotency_key_reused']);
  await client.ended(id);
  const occupied = await client.submit({ ...order, options: { candidates: 1 } });
  assert.deepEqual([occupied.status, (await json(occupied))['code']], [409, 'output_in_use']);
});

test('events tell how far a job is, and its end', async (t) => {
  const { client } = await start(t, 300, { DELAY_MS: '20', CONCURRENCY: '4' });
  const id = await client.start({ source: { prefix: 'album/' }, output: 'results' });
  const text = await (await fetch(`${client.url}/v1/jobs/${id}/events`)).text();
  const events = text.trim().split('\n\n');
  assert.match(events.at(-1) ?? '', /^event: end\ndata: \{.*"status":"done"/);
  assert.ok(events.length > 1);
  for (const event of events.slice(0, -1)) assert.match(event, /^event: progress\ndata: \{/);
});

test('a job that is cancelled stops, keeps what it has, and goes on when it is ordered again', async (t) => {
  const { client, root } = await start(t, 2000, { DELAY_MS: '20', CONCURRENCY: '16' });
  const order = { source: { prefix: 'album/' }, output: 'results' };
  const id = await client.start(order);
  await client.hasDone(id, 200);
  const answer = await client.cancel(id);
  assert.ok(['cancelling', 'cancelled'].includes(String(answer['status'])));
  const job = await client.ended(id);
  assert.equal(job['status'], 'cancelled');
  const metrics = await (await fetch(`${client.url}/metrics`)).text();
  for (const state of ['waiting', 'running', 'delayed']) {
    assert.match(metrics, new RegExp(`job_queue_entries\\{queue="shards",state="${state}"\\} 0`));
  }
  const before = await readParts(join(root, 'results'));
  assert.ok(before.length >= 200 && before.length < 2000, `${before.length} results`);
  const page = await client.get(id, `/results?start=0&limit=1000`);
  assert.equal(Array.isArray(page['results']) && page['results'].length, Math.min(1000, before.length));
  assert.equal((await client.cancel(id))['status'], 'cancelled');

  const next = await client.ended(await client.start(order));
  assert.deepEqual([next['status'], next['images']], ['done', { total: 2000, captioned: 2000, failed: 0 }]);
  assertEachOnce(await readParts(join(root, 'results')), 2000);
});

test('a manifest names images, folders, and what is not there', async (t) => {
  const { client, root } = await start(t, 3);
  await mkdir(join(root, 'more'));
  await writeFile(join(root, 'more', 'x.png'), 'another');
  await writeFile(join(root, 'list.txt'), 'album/2.jpg\n\nmore/\r\nalbum/none.jpg\n');
  const id = await client.start({ source: { manifest: 'list.txt' }, output: 'results' });
  assert.equal((await client.ended(id))['status'], 'done');
  const lines = await readParts(join(root, 'results'));
  assert.deepEqual(
    lines.map(({ source, error }) => [
      source,
      typeof error === 'object' && error !== null && 'code' in error && error.code,
    ]),
    [
      [join(root, 'album/2.jpg'), false],
      [join(root, 'more/x.png'), false],
      [join(root, 'album/none.jpg'), 'not_found'],
    ],
  );
});

test('orders are refused that name other places, or are none', async (t) => {
  const { client, root } = await start(t, 1);
  await symlink('/etc', join(root, 'way-out'));
  const source = { prefix: 'album/' };
  const cases: [object, number, string][] = [
    [{ source, output: '../results' }, 403, 'forbidden'],
    [{ source, output: '/tmp/results' }, 403, 'forbidden'],
    [{ source, output: 's3://bucket/results' }, 403, 'forbidden'],
    [{ source: { prefix: '/etc/' }, output: 'results' }, 403, 'forbidden'],
    [{ source: { prefix: 'way-out/' }, output: 'results' }, 403, 'forbidden'],
    [{ source: { urls: ['way-out/passwd'] }, output: 'results' }, 403, 'forbidden'],
    [{ source: { urls: ['https://example.org/a.jpg'] }, output: 'results' }, 400, 'url_not_allowed'],
    [{ source, output: 'results', webhook: 'http://10.0.0.1/' }, 400, 'url_not_allowed'],
    [{ source: {}, output: 'results' }, 400, 'invalid_option'],
    [{ source: { urls: [] }, output: 'results' }, 400, 'invalid_option'],
    [{ source: { urls: ['a'], prefix: 'b' }, output: 'results' }, 400, 'invalid_option'],
    [{ source }, 400, 'invalid_option'],
    [{ source, output: 'results', folder: 1 }, 400, 'invalid_option'],
    [{ source, output: 'results', options: { candidates: 99 } }, 400, 'invalid_option'],
    [[], 400, 'malformed_json'],
  ];
  for (const [order, status, code] of cases) {
    const response = await client.submit(order);
    assert.deepEqual(
      [response.status, (await json(response))['code']],
      [status, code],
      JSON.stringify(order),
    );
  }
  for (const id of ['none', '..%2f', 'a:b']) {
    const response = await fetch(`${client.url}/v1/jobs/${id}`);
    assert.deepEqual([response.status, (await json(response))['code']], [404, 'not_found']);
  }
});

test('a source without images is a job that failed', async (t) => {
  const { client } = await start(t, 0);
  const hooks = await startHookReceiver(t);
  const id = await client.start({ source: { prefix: 'album/' }, output: 'results', webhook: hooks.url });
  const job = await client.ended(id);
  assert.equal(job['status'], 'failed');
  assert.deepEqual(job['problem'], {
    code: 'missing_image',
    title: 'No image was sent',
    detail: 'There is no image at the source.',
  });
  await hooks.until(1);
  assert.equal(hooks.received[0]?.type, 'job.failed');
});

test('a job belongs to its API key wherever that is in the list, and to no other one', async (t) => {
  const redis = await startRedis(t);
  const environment = { QUEUE_URL: redis.url, JOBS_ROOT: await makeRoot(t, 1), PORT: '0' };
  const [alice, bob, carol] = ['the-key-of-alice', 'the-key-of-robert', 'the-key-of-carol'] as const;
  let id = '';
  const statuses: Record<string, number>[] = [];
  for (const keys of [
    [alice, bob],
    [bob, carol, alice],
  ]) {
    const service = await startScript('service-process', { ...environment, API_KEYS: keys.join(',') });
    const call = (key: string, path: string, order?: object) =>
      fetch(`${service.line}/v1/jobs${path}`, {
        headers: { 'api-key': key, ...(order && { 'content-type': 'application/json' }) },
        ...(order && { method: 'POST', body: JSON.stringify(order) }),
      });
    if (id === '') {
      const made = await call(alice, '', { source: { prefix: 'album/' }, output: 'results' });
      id = String((await json(made))['id']);
    }
    const seen: Record<string, number> = {};
    for (const key of keys) seen[key] = (await call(key, `/${id}`)).status;
    statuses.push(seen);
    await kill(service.child);
  }
  assert.deepEqual(statuses, [
    { [alice]: 200, [bob]: 404 },
    { [bob]: 404, [carol]: 404, [alice]: 200 },
  ]);
});

for (const [name, startQueue] of [
  ['Redis', startRedis],
  ['PostgreSQL', startPostgres],
] as const) {
  test(`an output has one job at a time, whatever is sent at once (${name})`, async (t) => {
    const queue = await startQueue(t);
    const environment = { QUEUE_URL: queue.url, JOBS_ROOT: await makeRoot(t, 5), PORT: '0' };
    const service = await startScript('service-process', environment);
    t.after(() => kill(service.child));
    const client = new JobClient(service.line);
    const order = { source: { prefix: 'album/' }, output: 'results' };
    const answers = await Promise.all([
      client.submit(order),
      client.submit(order),
      client.submit(order, 'key'),
    ]);
    const ids = await Promise.all(answers.map(async (answer) => String((await json(answer))['id'])));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 200, 201]);
    const [id = ''] = ids;
    assert.deepEqual(ids, [id, id, id]);

    // One that is about to end as cancelled does not go on.
    assert.equal((await client.cancel(id))['status'], 'cancelling');
    const refused = await client.submit(order);
    assert.deepEqual([refused.status, (await json(refused))['code']], [409, 'output_in_use']);
    const worker = await startScript('worker-process', environment);
    t.after(() => kill(worker.child));
    assert.equal((await client.ended(id))['status'], 'cancelled');
    const next = await client.start(order);
    assert.notEqual(next, id);
    assert.equal((await client.ended(next))['status'], 'done');
    assert.notEqual(await client.start(order), next);
  });
}
