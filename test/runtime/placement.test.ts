import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Tensor } from 'onnxruntime-node';
import { type Candidate, placeGraph } from '../../src/runtime/placement.js';

/** A clock, and graphs that move it on by so many milliseconds and give out the name of their provider. */
function candidates(...speeds: readonly [provider: string, ms: number][]) {
  let time = 0;
  const runs: string[] = [];
  const released: string[] = [];
  const [first, ...others] = speeds.map(([provider, ms]): Candidate => ({
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
  it('runs on all until it is settled, with the outputs of the wanted one', async () => {
    const { graph, runs } = candidates(['webgpu', 30], ['cpu', 20]);
    assert.deepEqual((await graph.run({}))['from']?.data, ['webgpu']);
    assert.deepEqual(runs, ['webgpu', 'cpu']);
  });

  it('stays on the fastest alone, and frees the others', async () => {
    const { graph, runs, released } = candidates(['webgpu', 30], ['cpu', 20]);
    await graph.run({});
    assert.equal(await graph.settle(), 'cpu');
    assert.equal(await graph.settle(), 'cpu');
    assert.deepEqual((await graph.run({}))['from']?.data, ['cpu']);
    assert.deepEqual(runs, ['webgpu', 'cpu', 'cpu']);
    assert.deepEqual(released, ['webgpu']);
  });

  it('stays on the wanted one when another is no faster, or when nothing was measured', async () => {
    const equal = candidates(['webgpu', 20], ['cpu', 20]);
    await equal.graph.run({});
    assert.equal(await equal.graph.settle(), 'webgpu');
    const unmeasured = candidates(['webgpu', 30], ['cpu', 20]);
    assert.equal(await unmeasured.graph.settle(), 'webgpu');
  });

  it('has nothing to choose with one provider', async () => {
    const { graph, runs, released } = candidates(['cuda', 5]);
    await graph.run({});
    assert.equal(await graph.settle(), 'cuda');
    assert.deepEqual([runs, released], [['cuda'], []]);
  });
});
