import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fingerprintOf } from '../../src/jobs/job.js';
import { createLocations } from '../../src/jobs/locations.js';
import { type OrderPolicy, parseOrder } from '../../src/jobs/order.js';

const policy: OrderPolicy = {
  locations: createLocations({ root: undefined, buckets: ['album', 'results/captions/'] }),
  allowUrlImages: false,
};
const order = { source: { prefix: 's3://album/' }, output: 's3://results/captions/one/' };

test('an order is taken with its options as they are, and an output without a slash at its end', async () => {
  assert.deepEqual(await parseOrder({ ...order, options: { candidates: 2 } }, 20, policy), {
    source: order.source,
    options: { candidates: 2 },
    output: 's3://results/captions/one',
    webhook: undefined,
  });
});

for (const [what, changes, code] of [
  ['a bucket that is not listed', { source: { prefix: 's3://others/' } }, 'forbidden'],
  ['a name that only begins like a prefix', { output: 's3://results/captions-of-others' }, 'forbidden'],
  ['dots in a key', { output: 's3://results/captions/../x' }, 'forbidden'],
  ['a folder where there is none for jobs', { output: 'results' }, 'forbidden'],
  ['another scheme', { output: 'gs://results/x' }, 'forbidden'],
  [
    'an address where none is fetched',
    { source: { urls: ['https://example.org/a.jpg'] } },
    'url_not_allowed',
  ],
  ['a web hook without a secret', { webhook: 'https://example.org/' }, 'invalid_option'],
  ['names that are no texts', { source: { urls: [1] } }, 'invalid_option'],
  ['an empty name', { source: { prefix: ' ' } }, 'invalid_option'],
  ['options that are a list', { options: [] }, 'invalid_option'],
  ['an option that is unknown', { options: { beams: 1 } }, 'invalid_option'],
] as const) {
  test(`${what} is refused`, async () => {
    await assert.rejects(parseOrder({ ...order, ...changes }, 20, policy), { code });
  });
}

test('the fingerprint of an order is that of its images and options, whatever the order of these', () => {
  const source = { prefix: 's3://album/' };
  const one = fingerprintOf({ source, options: { candidates: 1, explain: true } });
  assert.equal(fingerprintOf({ source, options: { explain: true, candidates: 1 } }), one);
  assert.notEqual(fingerprintOf({ source, options: { candidates: 2, explain: true } }), one);
  assert.notEqual(
    fingerprintOf({ source: { prefix: 's3://album/a' }, options: { candidates: 1, explain: true } }),
    one,
  );
});
