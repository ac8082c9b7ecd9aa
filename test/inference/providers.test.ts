import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  createProviderError,
  gpuUnavailableReason,
  type Machine,
  type ProcessView,
  ProviderError,
  requireGpu,
  toExecutionProviders,
} from '../../src/inference/providers.js';

const known = ['cpu', 'webgpu', 'cuda', 'tensorrt'];

/** A Linux machine that has all libraries except these, each with the linker's message about it. */
function without(missing: Record<string, string>): Machine {
  return {
    platform: 'linux',
    known: () => known,
    runtimeFolder: '/ort',
    loadLibrary: (path) => missing[path],
  };
}

function cannotOpen(name: string): string {
  return `${name}: cannot open shared object file: No such file or directory`;
}

describe('a provider that does not run', () => {
  const reason =
    'OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library\n    at loadModel';

  it('is explained by every missing library: the driver’s, ONNX Runtime’s, and those that they depend on', () => {
    const { message } = createProviderError(
      'cuda',
      reason,
      without({
        'libcuda.so.1': cannotOpen('libcuda.so.1'),
        '/ort/libonnxruntime_providers_shared.so': cannotOpen('/ort/libonnxruntime_providers_shared.so'),
        '/ort/libonnxruntime_providers_cuda.so': cannotOpen('libcudart.so.13'),
      }),
    );
    assert.equal(
      message,
      'provider cuda does not run here. It needs libcuda.so.1 (the NVIDIA driver), ' +
        'libonnxruntime_providers_shared.so (in /ort), ' +
        'libcudart.so.13 (for libonnxruntime_providers_cuda.so, on LD_LIBRARY_PATH). ' +
        'ONNX Runtime says: OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library',
    );
  });

  it('is explained by the linker’s message about a library that does not load', () => {
    const { message } = createProviderError(
      'cuda',
      reason,
      without({ 'libcudnn.so.9': 'libcudnn.so.9: invalid ELF header' }),
    );
    assert.match(message, /It needs libcudnn\.so\.9 \(libcudnn\.so\.9: invalid ELF header\)\./);
  });

  it('is explained by ONNX Runtime’s message alone when all libraries load', () => {
    const { message } = createProviderError('cuda', 'CUDA failure 100: no CUDA-capable device', without({}));
    assert.equal(
      message,
      'provider cuda does not run here. ONNX Runtime says: CUDA failure 100: no CUDA-capable device',
    );
  });

  it('is explained without locations in ONNX Runtime’s source', () => {
    const said =
      '/onnxruntime_src/core/webgpu_context.cc:136 Initialize() status == Success was false. Failed to get an adapter';
    assert.match(createProviderError('webgpu', said, without({})).message, /says: Failed to get an adapter$/);
  });

  it('is explained by the build of ONNX Runtime when that does not have it', () => {
    const { message } = createProviderError('coreml', 'backend not found', without({}));
    assert.match(message, /another build of ONNX Runtime \(that for linux has cpu, webgpu, cuda, tensorrt\)/);
  });
});

describe('a GPU', () => {
  const machine = without({});
  const reasonFor = (provider: string, ...files: string[]) =>
    gpuUnavailableReason(provider, (path) => files.includes(String(path)), machine);

  it('may be available when its device file exists, and for CUDA also its library', () => {
    assert.equal(reasonFor('webgpu', '/dev/dri'), undefined);
    assert.equal(
      reasonFor('cuda', '/dev/nvidiactl'),
      '/ort/libonnxruntime_providers_cuda.so is not installed',
    );
    assert.equal(reasonFor('cuda', '/dev/nvidiactl', '/ort/libonnxruntime_providers_cuda.so'), undefined);
  });

  it('is unavailable without a device file', () => {
    assert.match(reasonFor('webgpu') ?? '', /no GPU/);
    const library = '/ort/libonnxruntime_providers_cuda.so';
    assert.match(reasonFor('cuda', library) ?? '', /no NVIDIA GPU/);
    assert.match(reasonFor('cuda', library, '/dev/dri') ?? '', /no NVIDIA GPU/);
  });

  it('is unavailable in a build of ONNX Runtime without its provider', () => {
    assert.match(
      gpuUnavailableReason('cuda', () => true, { ...machine, known: () => ['cpu'] }) ?? '',
      /does not have it/,
    );
  });
});

describe('the options of a provider', () => {
  it('contain the device’s number when the provider numbers its devices', () => {
    assert.deepEqual(toExecutionProviders('cuda', 1), [{ name: 'cuda', deviceId: 1 }]);
    assert.deepEqual(toExecutionProviders('dml', 2), [{ name: 'dml', deviceId: 2 }]);
    assert.deepEqual(toExecutionProviders('tensorrt', 0), [
      { name: 'tensorrt', deviceId: 0 },
      { name: 'cuda', deviceId: 0 },
    ]);
    for (const name of ['cpu', 'webgpu', 'coreml']) assert.deepEqual(toExecutionProviders(name, 0), [name]);
  });
});

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
    it(`is recognised by the open file ${device}, also when a software driver is loaded`, () => {
      requireGpu(processWith({ files: [device], libraries: ['/usr/lib/libvulkan_lvp.so'] }));
    });
  }

  it('is certain on macOS, which has no software driver', () => {
    requireGpu(processWith({ platform: 'darwin' }));
  });

  for (const library of ['/usr/lib/chromium/libvk_swiftshader.so', '/usr/lib/libvulkan_lvp.so.1']) {
    it(`is refused for the software driver ${library}, which is named`, () => {
      assert.throws(
        () => {
          requireGpu(processWith({ files: ['/dev/dri/card0'], libraries: [library] }));
        },
        (error) => error instanceof ProviderError && error.message.includes(`${library} computes on the CPU`),
      );
    });
  }

  it('is refused when no device file is open, and where this cannot be told', () => {
    assert.throws(() => {
      requireGpu(processWith({}));
    }, /no device file/);
    assert.throws(() => {
      requireGpu(processWith({ platform: 'win32' }));
    }, /cannot be told/);
  });
});
