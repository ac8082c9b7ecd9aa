import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import { BundleError, type BundleManifest } from '../../src/runtime/bundle-manifest.js';
import { choosePrecision, restrictPrecision, sessionOptions } from '../../src/runtime/sessions.js';
import { loadOrder } from './default-bundle.js';
import { exampleManifest } from './example-bundle.js';

function manifestWith(...precisions: readonly string[]): BundleManifest {
  const graphs = exampleManifest.precisions['w8'];
  assert.ok(graphs);
  return {
    ...exampleManifest,
    precisions: Object.fromEntries(precisions.map((precision) => [precision, graphs])),
  };
}

describe('the precision', () => {
  it('is int8 on a CPU where the bundle has it, else w8', () => {
    assert.equal(choosePrecision(manifestWith('w8', 'int8'), 'cpu'), 'int8');
    assert.equal(choosePrecision(manifestWith('fp32', 'w8'), 'cpu'), 'w8');
  });

  it('is never int8 on another provider', () => {
    assert.equal(choosePrecision(manifestWith('int8', 'w8'), 'webgpu'), 'w8');
    assert.throws(() => choosePrecision(manifestWith('int8'), 'cuda'), BundleError);
  });

  it('is the wanted one, or the bundle is refused', () => {
    const manifest = manifestWith('int8', 'w8');
    assert.equal(choosePrecision(restrictPrecision(manifest, 'w8'), 'cpu'), 'w8');
    assert.equal(choosePrecision(restrictPrecision(manifest, 'auto'), 'cpu'), 'int8');
    assert.throws(() => restrictPrecision(manifest, 'fp32'), /has no precision fp32; it has int8, w8/);
    assert.throws(() => choosePrecision(restrictPrecision(manifest, 'int8'), 'cuda'), BundleError);
  });
});

test('a session has the device and the threads of its order, and none of them spins', () => {
  const order = { ...loadOrder('w8'), provider: 'cuda', device: 1, threads: 3 };
  const { executionProviders, intraOpNumThreads, interOpNumThreads, extra } = sessionOptions(order);
  assert.deepEqual(executionProviders, [{ name: 'cuda', deviceId: 1 }]);
  assert.deepEqual([intraOpNumThreads, interOpNumThreads], [3, 1]);
  assert.deepEqual(extra, { session: { intra_op: { allow_spinning: '0' } } });
});
