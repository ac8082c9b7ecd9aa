import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import pLimit from 'p-limit';
import { ServiceError } from '../../src/errors.js';
import { createLocations } from '../../src/jobs/locations.js';
import { JobOutput } from '../../src/jobs/output.js';
import { openQueues } from '../../src/jobs/queues.js';
import { runShard } from '../../src/jobs/run-shard.js';
import { createFakeScheduler } from '../http/fake-scheduler.js';
import { makeRoot } from './job-service.js';
import { startRedis } from './queue-server.js';

test('what is no fault of the images is not their result, not even at the last try', async (t) => {
  const redis = await startRedis(t);
  const root = await makeRoot(t, 2);
  const queues = openQueues(redis.url, () => undefined);
  t.after(() => queues.close());
  const output = new JobOutput(join(root, 'results'));
  await output.writeList(0, [join(root, 'album/0.jpg'), join(root, 'album/1.jpg')]);
  const data = { output: output.name, options: {}, owner: 'everybody', fingerprint: '' };
  await queues.jobs.add('job', data, { jobId: 'one' });
  await (await queues.jobs.getJob('one'))?.updateProgress({ images: 2, shards: 1, shardImages: 100 });
  for (const code of ['storage_unavailable', 'queue_full', 'not_ready', 'draining'] as const) {
    await queues.shards.add('shard', { job: 'one', index: 0 }, { jobId: code, attempts: 1 });
    const shard = await queues.shards.getJob(code);
    assert.ok(shard);
    const attempt = runShard(shard, {
      queues,
      captioner: { caption: () => Promise.reject(new ServiceError(code, 'It is away.')) },
      scheduler: createFakeScheduler(),
      locations: createLocations({ root, buckets: [] }),
      maxImageBytes: 1024,
      limit: pLimit(2),
      retry: { retries: 1, minTimeout: 1 },
      onWritten: () => undefined,
      onUnexpected: () => undefined,
    });
    await assert.rejects(attempt, { code });
    assert.equal(await output.readPart(0), undefined);
  }
});
