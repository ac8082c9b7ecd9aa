import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { json } from '../http/service.js';
import { assertEachOnce, JobClient, kill, makeRoot, readParts, startScript } from './job-service.js';
import { startRedis } from './queue-server.js';

test('a full disk is a clear error, and the job goes on when there is room', async (t) => {
  const redis = await startRedis(t);
  const root = await makeRoot(t, 1000);
  const disk = join(root, 'disk');
  await mkdir(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'none', disk]);
  const running: ChildProcess[] = [];
  try {
    await fillAndFree(disk, async (script) => {
      const started = await startScript(script, { QUEUE_URL: redis.url, JOBS_ROOT: root, PORT: '0' });
      running.push(started.child);
      return started.line;
    });
  } finally {
    for (const child of running) await kill(child);
    execFileSync('umount', [disk]);
  }
});

async function fillAndFree(disk: string, start: (script: string) => Promise<string>): Promise<void> {
  const client = new JobClient(await start('service-process'));
  await start('worker-process');
  const order = { source: { prefix: 'album/' }, output: 'disk/results' };

  await writeFile(join(disk, 'ballast'), Buffer.alloc(2 * 1024 * 1024)).catch(() => undefined);
  const refused = await client.submit(order);
  const { code, detail } = await json(refused);
  assert.deepEqual([refused.status, code, detail], [502, 'storage_unavailable', 'The disk is full.']);

  // Room for the lists and some parts; the rest finds the disk full, and waits for its next try.
  await writeFile(join(disk, 'ballast'), Buffer.alloc(1_670_000));
  const id = await client.start(order);
  await client.hasDone(id, 100);
  for (;;) {
    const metrics = await (await fetch(`${client.url}/metrics`)).text();
    if (/job_queue_entries\{queue="shards",state="delayed"\} [1-9]/.test(metrics)) break;
  }
  assert.equal((await client.get(id))['status'], 'running');
  await rm(join(disk, 'ballast'));
  const job = await client.ended(id);
  assert.deepEqual([job['status'], job['images']], ['done', { total: 1000, captioned: 1000, failed: 0 }]);
  assertEachOnce(await readParts(join(disk, 'results')), 1000);
}
