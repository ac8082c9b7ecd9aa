import assert from 'node:assert/strict';
import { test } from 'node:test';
import { documentOf } from '../../src/jobs/progress.js';

const data = { output: '/jobs/results', options: {}, owner: 'everybody', fingerprint: '' };
const plan = { images: 1, shards: 1, shardImages: 100 };

for (const [what, stopped, hasBegun, isPlanned, status] of [
  ['no worker has begun', undefined, false, false, 'queued'],
  ['no worker has begun, and that is cancelled', 'cancelled', false, false, 'cancelling'],
  ['is being listed', undefined, true, false, 'planning'],
  ['is listed', undefined, true, true, 'running'],
  ['is cancelled while it runs', 'cancelled', true, true, 'cancelling'],
] as const) {
  test(`a job that ${what} is ${status}`, () => {
    const job = { id: 'one', data: { ...data, ...(stopped && { stopped }) }, timestamp: 0 };
    const facts = { done: new Map(), plan: isPlanned ? plan : undefined, outcome: undefined, hasBegun };
    assert.equal(documentOf(job, facts).status, status);
  });
}
