import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mean, median, percentile } from '../../bench/measure/statistics.js';
import { againstTarget, allOf } from '../../bench/measure/target.js';
import { markdownTable } from '../../bench/measure/table.js';

test('percentiles are interpolated between neighbours, whatever the order', () => {
  const numbers = [40, 10, 30, 20];
  assert.equal(percentile(numbers, 0), 10);
  assert.equal(percentile(numbers, 1), 40);
  assert.equal(median(numbers), 25);
  assert.equal(
    percentile(
      Array.from({ length: 101 }, (_, index) => index),
      0.99,
    ),
    99,
  );
  assert.equal(mean(numbers), 25);
  assert.deepEqual(numbers, [40, 10, 30, 20]);
});

test('figures stand beside their targets', () => {
  assert.equal(againstTarget(0.904, { atLeast: 0.9 }), '0.90 (at least 0.9: met)');
  assert.equal(againstTarget(0.899, { atLeast: 0.9 }), '0.90 (at least 0.9: missed)');
  assert.equal(againstTarget(1.05, { atMost: 1.05 }), '1.05 (at most 1.05: met)');
  assert.equal(allOf(3, 3), '3 of 3 (all: met)');
  assert.equal(allOf(2, 3), '2 of 3 (all: missed)');
});

test('figures of nothing are refused', () => {
  assert.throws(() => median([]), /no numbers/);
  assert.throws(() => mean([]), /no numbers/);
});

test('columns of a table stand under each other', () => {
  assert.equal(
    markdownTable(
      ['', 'images/s'],
      [
        ['service', '9.5'],
        ['bare', '10.25'],
      ],
    ),
    [
      '|         | images/s |',
      '| ------- | -------: |',
      '| service |      9.5 |',
      '| bare    |    10.25 |',
    ].join('\n'),
  );
});
