import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DrainRate } from '../../src/scheduler/permit.js';

describe('the drain rate', () => {
  it('says after how many seconds a queue is worked off', () => {
    const rate = new DrainRate(8, 1000); // 8 images a second
    assert.equal(rate.retryAfterSeconds(80, 1), 10);
    assert.equal(rate.retryAfterSeconds(80, 2), 5);
    assert.equal(rate.retryAfterSeconds(81, 1), 11);
  });

  it('follows what is measured', () => {
    const rate = new DrainRate(8, 1000);
    for (let batch = 0; batch < 50; batch++) rate.record(8, 4000);
    assert.equal(rate.retryAfterSeconds(16, 1), 8);
  });

  it('is at least a second and at most a minute, with no worker up either', () => {
    const rate = new DrainRate(8, 1000);
    assert.equal(rate.retryAfterSeconds(0, 1), 1);
    assert.equal(rate.retryAfterSeconds(100_000, 0), 60);
  });
});
