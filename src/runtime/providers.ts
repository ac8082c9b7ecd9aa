import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { type InferenceSession, listSupportedBackends } from 'onnxruntime-node';

/** The execution provider cannot run the bundle; the message says what is missing where that can be told. */
export class ProviderError extends Error {
  override readonly name = 'ProviderError';
}

/** What the drivers of GPUs show: NVIDIA's, those of the kernel's own, and WSL's. */
const gpuDevices = ['/dev/nvidiactl', '/dev/dri', '/dev/dxg'];

/** What diagnosing reads of the machine; replaced in tests. */
export interface Machine {
  readonly platform: NodeJS.Platform;
  /** Providers that this build of ONNX Runtime knows. */
  readonly known: readonly string[];
  /** Folder of ONNX Runtime's own library, where it looks for those of its providers. */
  readonly runtimeFolder: string;
  /** Loads a shared library, by path or by name; the linker's words when it cannot. */
  readonly loadLibrary: (path: string) => string | undefined;
}

/** ONNX Runtime's options for a provider on a device. */
export function executionProviders(
  provider: string,
  deviceId: number,
): InferenceSession.ExecutionProviderConfig[] {
  switch (provider) {
    case 'cuda':
    case 'dml':
      return [{ name: provider, deviceId }];
    case 'tensorrt':
      // What TensorRT cannot build runs on CUDA.
      return [
        { name: 'tensorrt', deviceId },
        { name: 'cuda', deviceId },
      ];
    default:
      return [provider];
  }
}

/** Why a provider does not run the bundle: what is missing on the machine, and ONNX Runtime's own reason. */
export function providerError(provider: string, reason: string, machine = thisMachine()): ProviderError {
  const missing = whatIsMissing(provider, machine);
  const needs = missing.length === 0 ? '' : ` It needs ${missing.join(', ')}.`;
  return new ProviderError(
    `provider ${provider} does not run here.${needs} ONNX Runtime says: ${plainReason(reason)}`,
  );
}

/**
 * Why a provider cannot have a GPU here, as far as it shows without starting it; undefined when it is worth a try.
 * @param exists whether there is a file at a path
 */
export function gpuLack(
  provider: string,
  exists = existsSync,
  { platform, known, runtimeFolder: folder } = thisMachine(),
): string | undefined {
  if (!known.includes(provider)) return `ONNX Runtime for ${platform} does not have it`;
  if (platform !== 'linux') return undefined;
  if (!gpuDevices.some((path) => exists(path))) return 'this machine has no GPU, or does not pass it on';
  const library = join(folder, 'libonnxruntime_providers_cuda.so');
  return provider === 'cuda' && !exists(library) ? `${library} is not installed` : undefined;
}

/** What a provider needs and the machine lacks. */
function whatIsMissing(provider: string, machine: Machine): string[] {
  if (!machine.known.includes(provider)) {
    return [`another build of ONNX Runtime (that for ${machine.platform} has ${machine.known.join(', ')})`];
  }
  if (machine.platform !== 'linux') return [];
  return librariesOf(provider, machine.runtimeFolder).flatMap(({ path, what }) => {
    const reason = machine.loadLibrary(path);
    return reason === undefined ? [] : [described(path, what, reason)];
  });
}

/** The linker names the library that it cannot open, which may be one that the wanted library needs. */
function described(path: string, what: string, reason: string): string {
  const absent = /^(\S+): cannot open shared object file/.exec(reason)?.[1];
  if (absent === undefined) return `${basename(path)} (${reason})`;
  if (absent === path) return `${basename(path)} (${what})`;
  return `${absent} (for ${basename(path)}, on LD_LIBRARY_PATH)`;
}

interface NeededLibrary {
  /** A name alone is looked up as the linker does. */
  readonly path: string;
  /** What it is, or where it belongs. */
  readonly what: string;
}

/** What ONNX Runtime loads for a provider on Linux. */
function librariesOf(provider: string, folder: string): readonly NeededLibrary[] {
  const own = (name: string): NeededLibrary => ({
    path: join(folder, `libonnxruntime_providers_${name}.so`),
    what: `in ${folder}`,
  });
  const cuda = [
    { path: 'libcuda.so.1', what: 'the NVIDIA driver' },
    own('shared'),
    own('cuda'),
    { path: 'libcudnn.so.9', what: 'cuDNN 9, on LD_LIBRARY_PATH' },
  ];
  switch (provider) {
    case 'cuda':
      return cuda;
    case 'tensorrt':
      return [...cuda, own('tensorrt')];
    case 'webgpu':
      return [{ path: 'libvulkan.so.1', what: 'the Vulkan loader, with a Vulkan driver of the GPU' }];
    default:
      return [];
  }
}

/** The first line without the place in ONNX Runtime's source that it begins with. */
function plainReason(text: string): string {
  return firstLine(text).replace(/^\/onnxruntime_src\/.* was false\. /, '');
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]?.trim() ?? '';
}

function thisMachine(): Machine {
  return {
    platform: process.platform,
    known: listSupportedBackends().map(({ name }) => name),
    runtimeFolder: runtimeFolder(),
    loadLibrary,
  };
}

/** Where onnxruntime-node keeps the binaries of this platform. */
export function runtimeFolder(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  return join(dirname(main), '..', 'bin', 'napi-v6', process.platform, process.arch);
}

/** Node loads addons only, but says of a library that is none that it did not register: then it was loaded. */
function loadLibrary(path: string): string | undefined {
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_LAZY);
    return undefined;
  } catch (error) {
    const reason = firstLine(error instanceof Error ? error.message : String(error));
    return /did not self-register|register itself/.test(reason) ? undefined : reason;
  }
}
