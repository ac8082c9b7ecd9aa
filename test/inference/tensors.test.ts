import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { averageDirection, dot, maxDot } from '../../src/inference/tensors.js';

describe('vector arithmetic', () => {
  it('averages several directions to unit length', () => {
    const mean = averageDirection([Float32Array.of(1, 0), Float32Array.of(0, 1)], 2);
    assert.ok(Math.abs(dot(mean, mean) - 1) < 1e-6);
    assert.ok(Math.abs((mean[0] ?? 0) - Math.SQRT1_2) < 1e-6);
  });

  it('averages directions that cancel out to zeros, not to NaN', () => {
    assert.deepEqual([...averageDirection([Float32Array.of(1, 0), Float32Array.of(-1, 0)], 2)], [0, 0]);
  });

  it('finds the largest inner product among many rows', () => {
    const rows = { data: Float32Array.of(0, 1, 1, 0, -1, 0), count: 3, width: 2 };
    assert.ok(Math.abs(maxDot(Float32Array.of(0.6, 0.8), rows) - 0.8) < 1e-6);
  });
});
