import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextPriorities } from '../../src/jobs/fair-priority.js';

test('shards of a job follow each other, and those of a new job begin where the line is', () => {
  assert.deepEqual(nextPriorities(3, 0, undefined), [1, 2, 3]);
  assert.deepEqual(nextPriorities(2, 3, 1), [4, 5]);
  assert.deepEqual(nextPriorities(3, 0, 500), [500, 501, 502]);
});

test('a job that falls behind while it is listed takes its turn with the others', () => {
  assert.deepEqual(nextPriorities(2, 3, 90), [90, 91]);
});

test('no priority is beyond what the queue takes', () => {
  assert.deepEqual(nextPriorities(2, 2_097_150, undefined), [2_097_151, 2_097_151]);
});
