import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usableCores } from '../../src/engine/cpu-quota.js';

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
