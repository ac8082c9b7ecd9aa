import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ProcessView, requireGpu } from '../../src/runtime/hardware.js';
import { ProviderError } from '../../src/runtime/providers.js';

function processWith(view: {
  files?: string[];
  libraries?: string[];
  platform?: NodeJS.Platform;
}): ProcessView {
  return {
    platform: view.platform ?? 'linux',
    openFiles: () => ['/dev/null', 'socket:[12]', ...(view.files ?? [])],
    libraries: () => ['/usr/lib/libvulkan.so.1', ...(view.libraries ?? [])],
  };
}

describe('WebGPU on hardware', () => {
  for (const device of ['/dev/nvidia0', '/dev/dri/renderD128', '/dev/kfd', '/dev/dxg']) {
    it(`is seen by the open ${device}, though a software driver is loaded too`, () => {
      requireGpu(processWith({ files: [device], libraries: ['/usr/lib/libvulkan_lvp.so'] }));
    });
  }

  it('is certain on macOS', () => {
    requireGpu(processWith({ platform: 'darwin' }));
  });

  for (const library of ['/usr/lib/chromium/libvk_swiftshader.so', '/usr/lib/libvulkan_lvp.so.1']) {
    it(`is not ${library}, which is named`, () => {
      assert.throws(
        () => {
          requireGpu(processWith({ files: ['/dev/dri/card0'], libraries: [library] }));
        },
        (error) => error instanceof ProviderError && error.message.includes(`${library} computes on the CPU`),
      );
    });
  }

  it('is doubted where nothing shows it', () => {
    assert.throws(() => {
      requireGpu(processWith({}));
    }, /no device file/);
    assert.throws(() => {
      requireGpu(processWith({ platform: 'win32' }));
    }, /cannot be told/);
  });
});
