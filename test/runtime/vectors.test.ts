import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dot, largestDot, meanDirection } from '../../src/runtime/vectors.js';

describe('vectors', () => {
  it('of several descriptions have a mean of unit length', () => {
    const mean = meanDirection([Float32Array.of(1, 0), Float32Array.of(0, 1)], 2);
    assert.ok(Math.abs(dot(mean, mean) - 1) < 1e-6);
    assert.ok(Math.abs((mean[0] ?? 0) - Math.SQRT1_2) < 1e-6);
  });

  it('that cancel out have no direction, and no NaN either', () => {
    assert.deepEqual([...meanDirection([Float32Array.of(1, 0), Float32Array.of(-1, 0)], 2)], [0, 0]);
  });

  it('find the closest of many rows', () => {
    const rows = { data: Float32Array.of(0, 1, 1, 0, -1, 0), count: 3, width: 2 };
    assert.ok(Math.abs(largestDot(Float32Array.of(0.6, 0.8), rows) - 0.8) < 1e-6);
  });
});
