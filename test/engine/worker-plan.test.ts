import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planWorkers } from '../../src/engine/worker-plan.js';

const auto = { provider: 'cpu', devices: [], workers: 'auto', threads: 'auto' } as const;

describe('the plan of workers', () => {
  it('gives one process all cores by default', () => {
    assert.deepEqual(planWorkers(auto, 4), [{ device: 0, threads: 4, spinning: false }]);
  });

  it('divides the threads among the processes that were asked for', () => {
    assert.deepEqual(
      planWorkers({ ...auto, workers: 3, threads: 8 }, 4).map(({ threads }) => threads),
      [2, 2, 2],
    );
    assert.deepEqual(
      planWorkers({ ...auto, workers: 4 }, 2).map(({ threads }) => threads),
      [1, 1, 1, 1],
    );
  });

  it('has one process for each device of other providers', () => {
    const plan = planWorkers({ ...auto, provider: 'cuda', devices: ['0', '2'], workers: 7 }, 8);
    assert.deepEqual(
      plan.map(({ device }) => device),
      [0, 2],
    );
    assert.equal(planWorkers({ ...auto, provider: 'cuda' }, 8).length, 1);
  });
});
