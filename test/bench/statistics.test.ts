import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mean, median, percentile } from '../../bench/measure/statistics.js';
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
