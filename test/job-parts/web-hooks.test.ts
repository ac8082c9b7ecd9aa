import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonPost } from '../../src/images/post-json.js';
import { hookKey, sendHook, signatureOf } from '../../src/jobs/web-hooks.js';

test('the signature is the one of the example of Standard Webhooks', () => {
  const key = hookKey('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
  assert.equal(
    signatureOf(key, 'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'),
    'g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  );
});

const document = {
  id: 'one',
  status: 'done',
  output: 's3://results/one',
  images: { total: 1, captioned: 1, failed: 0 },
  shards: { total: 1, done: 1 },
  createdAt: '2026-05-04T10:00:00.000Z',
  finishedAt: '2026-05-04T10:01:00.000Z',
} as const;
const hook = { id: 'one-ended', data: { url: 'https://example.org/', event: 'job.done', document } };

test('a web hook says what ended, and an answer other than 2xx is an error, so that it is sent again', async () => {
  const posts: JsonPost[] = [];
  let status = 200;
  const deps = {
    secret: hookKey('a text of more than 24 characters'),
    now: () => 1_700_000_000_500,
    post: (_url: string, post: JsonPost) => {
      posts.push(post);
      return Promise.resolve(status);
    },
  };
  await sendHook(hook, deps);
  assert.deepEqual(JSON.parse(posts[0]?.body ?? ''), {
    type: 'job.done',
    timestamp: document.finishedAt,
    data: document,
  });
  assert.equal(posts[0]?.headers['webhook-id'], 'one-ended');
  assert.equal(posts[0].headers['webhook-timestamp'], '1700000000');
  for (status of [301, 404, 500]) {
    await assert.rejects(sendHook(hook, deps), /answered with status/);
  }
});
