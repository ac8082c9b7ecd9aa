import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readManifestFile } from '../../src/inference/bundle.js';
import {
  planLowLatencyWorker,
  planWorkers,
  usableCores,
  usableMemory,
  workersInMemory,
  type WorkerPlanSettings,
} from '../../src/scheduler/resources.js';
import { defaultBundle } from '../inference/default-bundle.js';
import { exampleManifest } from '../inference/example-bundle.js';

const auto: WorkerPlanSettings = {
  provider: 'cpu',
  devices: [],
  workers: 'auto',
  threads: 'auto',
  workersInMemory: 100,
};
const threadsOf = (settings: WorkerPlanSettings, cores: number): number[] =>
  planWorkers(settings, cores).map(({ threads }) => threads);

describe('the plan of workers', () => {
  it('gives each core a process of its own by default, and as many as memory has room for', () => {
    assert.deepEqual(threadsOf(auto, 1), [1]);
    assert.deepEqual(threadsOf(auto, 4), [1, 1, 1, 1]);
    assert.deepEqual(threadsOf(auto, 20), [3, 3, 3, 3, 2, 2, 2, 2]);
    assert.deepEqual(threadsOf({ ...auto, workersInMemory: 2 }, 4), [2, 2]);
    assert.deepEqual(threadsOf({ ...auto, workersInMemory: 0 }, 4), [4]);
    assert.deepEqual(threadsOf({ ...auto, threads: 2 }, 4), [1, 1]);
  });

  it('divides the threads among the processes that were asked for, whatever the memory', () => {
    assert.deepEqual(threadsOf({ ...auto, workers: 3, threads: 8, workersInMemory: 1 }, 4), [3, 3, 2]);
    assert.deepEqual(threadsOf({ ...auto, workers: 4 }, 2), [1, 1, 1, 1]);
  });

  it('has one process for each device of other providers', () => {
    const plan = planWorkers({ ...auto, provider: 'cuda', devices: ['0', '2'], workers: 7 }, 8);
    assert.deepEqual(
      plan.map(({ device }) => device),
      [0, 2],
    );
    assert.equal(planWorkers({ ...auto, provider: 'cuda' }, 8).length, 1);
  });

  it('adds one with all cores for images that come alone, where it is of use and memory has room', () => {
    assert.deepEqual(planLowLatencyWorker(auto, 4), { device: 0, threads: 4 });
    assert.equal(planLowLatencyWorker(auto, 1), undefined);
    assert.equal(planLowLatencyWorker({ ...auto, workersInMemory: 4 }, 4), undefined);
    assert.equal(planLowLatencyWorker({ ...auto, workers: 2 }, 4), undefined);
    assert.equal(planLowLatencyWorker({ ...auto, provider: 'cuda', devices: ['0', '1'] }, 4), undefined);
  });

  it('knows what a process takes from the weights, however they are stored', () => {
    const files = Object.fromEntries(
      ['encoder.w8.onnx', 'mixup.w8.onnx', 'decoder.w8.onnx', 'text.onnx'].map((name) => [
        name,
        { bytes: 10_000_000, sha256: '' },
      ]),
    );
    const manifest = { ...exampleManifest, files };
    const gibibytes = (count: number): number => count * 1024 ** 3;
    assert.equal(workersInMemory(manifest, 'w8', gibibytes(2)), 3);
    assert.ok(workersInMemory(manifest, 'w8', gibibytes(0.25)) <= 0);
    const { w8 } = manifest.precisions;
    assert.ok(w8 !== undefined);
    const stored = (precision: string): number =>
      workersInMemory({ ...manifest, precisions: { [precision]: w8 } }, precision, gibibytes(2));
    assert.deepEqual(['fp32', 'fp16', 'int8'].map(stored), [13, 6, 5]);
  });

  it('has two processes of the embedded bundle in 1.5 GiB, one in 1 GiB, and one for lone images in 2 GiB', async () => {
    const manifest = await readManifestFile(defaultBundle);
    const plan = (gibibytes: number): [number, number | undefined] => {
      const settings = { ...auto, workersInMemory: workersInMemory(manifest, 'int8', gibibytes * 1024 ** 3) };
      return [planWorkers(settings, 2).length, planLowLatencyWorker(settings, 2)?.threads];
    };
    assert.deepEqual([1, 1.5, 2].map(plan), [
      [1, undefined],
      [2, undefined],
      [2, 2],
    ]);
  });
});

describe('the memory a process may use', () => {
  it('is the machine’s, or what the container is limited to', () => {
    assert.equal(usableMemory(1000, 200), 200);
    assert.equal(usableMemory(1000, 2 ** 64), 1000);
    assert.equal(usableMemory(1000, 0), 1000);
    assert.ok(usableMemory() > 0);
  });
});

/** Cores on a host of 8 with these files. */
function cores(files: Record<string, string>): number {
  return usableCores((path) => files[path], 8);
}

describe('the cores a process may use', () => {
  it('are those of the host without control groups', () => {
    assert.equal(cores({}), 8);
  });

  it('follow the quota of a container, version 2', () => {
    const inContainer = { '/proc/self/cgroup': '0::/\n' };
    assert.equal(cores({ ...inContainer, '/sys/fs/cgroup/cpu.max': '200000 100000\n' }), 2);
    assert.equal(cores({ ...inContainer, '/sys/fs/cgroup/cpu.max': 'max 100000\n' }), 8);
  });

  it('follow the narrowest of nested groups', () => {
    const files = {
      '/proc/self/cgroup': '0::/kubepods/pod1/app\n',
      '/sys/fs/cgroup/kubepods/pod1/app/cpu.max': '600000 100000\n',
      '/sys/fs/cgroup/kubepods/pod1/cpu.max': '300000 100000\n',
      '/sys/fs/cgroup/kubepods/cpu.max': 'max 100000\n',
    };
    assert.equal(cores(files), 3);
  });

  it('follow the quota of a container, version 1', () => {
    const files = {
      '/proc/self/cgroup': '4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n',
      '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '400000\n',
      '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
    };
    assert.equal(cores(files), 4);
    assert.equal(cores({ ...files, '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '-1\n' }), 8);
  });

  it('are whole, and at least one', () => {
    const quota = (text: string) => cores({ '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': text });
    assert.equal(quota('250000 100000'), 2);
    assert.equal(quota('50000 100000'), 1);
  });
});
