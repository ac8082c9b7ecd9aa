import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { executionProviders, gpuLack, type Machine, providerError } from '../../src/runtime/providers.js';

const known = ['cpu', 'webgpu', 'cuda', 'tensorrt'];

/** A Linux machine that has all libraries but these, each with what the linker says of it. */
function without(missing: Record<string, string>): Machine {
  return { platform: 'linux', known, runtimeFolder: '/ort', loadLibrary: (path) => missing[path] };
}

function cannotOpen(name: string): string {
  return `${name}: cannot open shared object file: No such file or directory`;
}

describe('a provider that does not run', () => {
  const reason =
    'OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library\n    at loadModel';

  it('is told with every library that is missing: of the driver, of ONNX Runtime, and what those need', () => {
    const { message } = providerError(
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

  it('is told with what the linker says of a library that is there and does not load', () => {
    const { message } = providerError(
      'cuda',
      reason,
      without({ 'libcudnn.so.9': 'libcudnn.so.9: invalid ELF header' }),
    );
    assert.match(message, /It needs libcudnn\.so\.9 \(libcudnn\.so\.9: invalid ELF header\)\./);
  });

  it('is told in ONNX Runtime’s words alone when all libraries load', () => {
    const { message } = providerError('cuda', 'CUDA failure 100: no CUDA-capable device', without({}));
    assert.equal(
      message,
      'provider cuda does not run here. ONNX Runtime says: CUDA failure 100: no CUDA-capable device',
    );
  });

  it('is told without the places of ONNX Runtime’s source', () => {
    const said =
      '/onnxruntime_src/core/webgpu_context.cc:136 Initialize() status == Success was false. Failed to get an adapter';
    assert.match(providerError('webgpu', said, without({})).message, /says: Failed to get an adapter$/);
  });

  it('is told to be of another system', () => {
    const { message } = providerError('coreml', 'backend not found', without({}));
    assert.match(message, /another build of ONNX Runtime \(that for linux has cpu, webgpu, cuda, tensorrt\)/);
  });
});

describe('a GPU', () => {
  const machine = without({});
  const lack = (provider: string, ...files: string[]) =>
    gpuLack(provider, (path) => files.includes(String(path)), machine);

  it('is worth a try when its device file is there, and for CUDA its library', () => {
    assert.equal(lack('webgpu', '/dev/dri'), undefined);
    assert.equal(lack('cuda', '/dev/nvidiactl'), '/ort/libonnxruntime_providers_cuda.so is not installed');
    assert.equal(lack('cuda', '/dev/nvidiactl', '/ort/libonnxruntime_providers_cuda.so'), undefined);
  });

  it('is not there without a device file', () => {
    assert.match(lack('webgpu') ?? '', /no GPU/);
    assert.match(lack('cuda', '/ort/libonnxruntime_providers_cuda.so') ?? '', /no GPU/);
  });

  it('is out of reach of a build that has no provider for it', () => {
    assert.match(gpuLack('cuda', () => true, { ...machine, known: ['cpu'] }) ?? '', /does not have it/);
  });
});

describe('the options of a provider', () => {
  it('name the device where devices have numbers', () => {
    assert.deepEqual(executionProviders('cuda', 1), [{ name: 'cuda', deviceId: 1 }]);
    assert.deepEqual(executionProviders('dml', 2), [{ name: 'dml', deviceId: 2 }]);
    assert.deepEqual(executionProviders('tensorrt', 0), [
      { name: 'tensorrt', deviceId: 0 },
      { name: 'cuda', deviceId: 0 },
    ]);
    for (const name of ['cpu', 'webgpu', 'coreml']) assert.deepEqual(executionProviders(name, 0), [name]);
  });
});
