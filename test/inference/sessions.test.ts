import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import { Tensor } from 'onnxruntime-node';
import { BundleError, type BundleManifest } from '../../src/inference/manifest.js';
import { placeGraph, type ProviderCandidate, toSessionOptions } from '../../src/inference/sessions.js';
import { loadCommand } from './default-bundle.js';
import { exampleManifest } from './example-bundle.js';
import { choosePrecision, restrictPrecision } from '../../src/inference/bundle.js';

function manifestWith(...precisions: readonly string[]): BundleManifest {
  const graphs = exampleManifest.precisions['w8'];
  assert.ok(graphs);
  return {
    ...exampleManifest,
    precisions: Object.fromEntries(precisions.map((precision) => [precision, graphs])),
  };
}

describe('the precision', () => {
  it('is int8 on a CPU when the bundle has it, otherwise w8', () => {
    assert.equal(choosePrecision(manifestWith('w8', 'int8'), 'cpu'), 'int8');
    assert.equal(choosePrecision(manifestWith('fp32', 'w8'), 'cpu'), 'w8');
  });

  it('is never int8 on another provider', () => {
    assert.equal(choosePrecision(manifestWith('int8', 'w8'), 'webgpu'), 'w8');
    assert.throws(() => choosePrecision(manifestWith('int8'), 'cuda'), BundleError);
  });

  it('is the requested one, or the bundle is refused', () => {
    const manifest = manifestWith('int8', 'w8');
    assert.equal(choosePrecision(restrictPrecision(manifest, 'w8'), 'cpu'), 'w8');
    assert.equal(choosePrecision(restrictPrecision(manifest, 'auto'), 'cpu'), 'int8');
    assert.throws(
      () => restrictPrecision(manifest, 'fp32'),
      /^BundleError: PRECISION must be auto, or what the bundle has \(int8, w8\), not "fp32"$/,
    );
    assert.throws(() => choosePrecision(restrictPrecision(manifest, 'int8'), 'cuda'), BundleError);
  });
});

test('a session has the device and the threads of its load command, and its threads do not spin', () => {
  const command = { ...loadCommand('w8'), provider: 'cuda', device: 1, threads: 3 };
  const { executionProviders, intraOpNumThreads, interOpNumThreads, extra } = toSessionOptions(command);
  assert.deepEqual(executionProviders, [{ name: 'cuda', deviceId: 1 }]);
  assert.deepEqual([intraOpNumThreads, interOpNumThreads], [3, 1]);
  assert.deepEqual(extra, { session: { intra_op: { allow_spinning: '0' } } });
});

/** Makes graphs that advance a clock by the given milliseconds and output the name of their provider. */
function candidates(...speeds: readonly [provider: string, ms: number][]) {
  let time = 0;
  const runs: string[] = [];
  const released: string[] = [];
  const [first, ...others] = speeds.map(([provider, ms]): ProviderCandidate => ({
    provider,
    run() {
      time += ms;
      runs.push(provider);
      return Promise.resolve({ from: new Tensor('string', [provider], [1]) });
    },
    release() {
      released.push(provider);
      return Promise.resolve();
    },
  }));
  assert.ok(first);
  return { graph: placeGraph(first, others, () => time), runs, released };
}

describe('a graph that may run on several providers', () => {
  it('runs on all of them until it is settled, and gives the outputs of the wanted one', async () => {
    const { graph, runs } = candidates(['webgpu', 30], ['cpu', 20]);
    assert.deepEqual((await graph.run({}))['from']?.data, ['webgpu']);
    assert.deepEqual(runs, ['webgpu', 'cpu']);
  });

  it('keeps the fastest and releases the others', async () => {
    const { graph, runs, released } = candidates(['webgpu', 30], ['cpu', 20]);
    await graph.run({});
    assert.equal(await graph.settle(), 'cpu');
    assert.equal(await graph.settle(), 'cpu');
    assert.deepEqual((await graph.run({}))['from']?.data, ['cpu']);
    assert.deepEqual(runs, ['webgpu', 'cpu', 'cpu']);
    assert.deepEqual(released, ['webgpu']);
  });

  it('keeps the wanted one when another is no faster, or when nothing was measured', async () => {
    const equal = candidates(['webgpu', 20], ['cpu', 20]);
    await equal.graph.run({});
    assert.equal(await equal.graph.settle(), 'webgpu');
    const unmeasured = candidates(['webgpu', 30], ['cpu', 20]);
    assert.equal(await unmeasured.graph.settle(), 'webgpu');
  });

  it('keeps its only provider', async () => {
    const { graph, runs, released } = candidates(['cuda', 5]);
    await graph.run({});
    assert.equal(await graph.settle(), 'cuda');
    assert.deepEqual([runs, released], [['cuda'], []]);
  });
});
