import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type * as onnxRuntime from 'onnxruntime-node';
import type { InferenceSession } from 'onnxruntime-node';

const require = createRequire(import.meta.url);

/** The execution provider cannot run the bundle. Where it can be told, the message says what is missing. */
export class ProviderError extends Error {
  override readonly name = 'ProviderError';
}

/** The paths that exist when a driver of NVIDIA's GPUs runs: on Linux, and in WSL. */
const nvidiaPaths = ['/dev/nvidiactl', '/dev/dxg'];
/** The same for any GPU; the kernel's own drivers have a folder. */
const driverPaths = [...nvidiaPaths, '/dev/dri'];

/** The part of the machine that a diagnosis reads. Tests replace it. */
export interface Machine {
  readonly platform: NodeJS.Platform;
  /** The execution providers that this build of ONNX Runtime has. Asking loads the library. */
  readonly known: () => readonly string[];
  /** The folder of ONNX Runtime's library, where it looks for the libraries of its providers. */
  readonly runtimeFolder: string;
  /** Loads a shared library by path or name, and gives the linker's message when that fails. */
  readonly loadLibrary: (path: string) => string | undefined;
}

/** Gives ONNX Runtime's configuration of an execution provider on a device. */
export function toExecutionProviders(
  provider: string,
  deviceId: number,
): InferenceSession.ExecutionProviderConfig[] {
  switch (provider) {
    case 'cuda':
    case 'dml':
      return [{ name: provider, deviceId }];
    case 'tensorrt':
      // CUDA runs the parts of a graph that TensorRT cannot build.
      return [
        { name: 'tensorrt', deviceId },
        { name: 'cuda', deviceId },
      ];
    default:
      return [provider];
  }
}

/** Explains why a provider does not run the bundle: what the machine lacks, and ONNX Runtime's own reason. */
export function createProviderError(
  provider: string,
  reason: string,
  machine = readMachine(),
): ProviderError {
  const missing = findMissing(provider, machine);
  const needs = missing.length === 0 ? '' : ` It needs ${missing.join(', ')}.`;
  return new ProviderError(
    `provider ${provider} does not run here.${needs} ONNX Runtime says: ${stripSourceLocation(reason)}`,
  );
}

/**
 * Tells why a provider cannot have a GPU on this machine, as far as that can be seen without loading the provider.
 * @param exists tells whether there is a file at a path
 * @returns undefined when the provider may have a GPU, so that loading it is worth a try
 */
export function gpuUnavailableReason(
  provider: string,
  exists = existsSync,
  { platform, known, runtimeFolder } = readMachine(),
): string | undefined {
  // First what costs nothing: the serving process of a machine without a GPU never loads ONNX Runtime.
  const system = { coreml: 'darwin', dml: 'win32' }[provider] ?? platform;
  if (system !== platform) return `ONNX Runtime for ${platform} does not have it`;
  const isNvidia = provider === 'cuda' || provider === 'tensorrt';
  if (platform === 'linux' && !(isNvidia ? nvidiaPaths : driverPaths).some((path) => exists(path)))
    return `this machine has no ${isNvidia ? 'NVIDIA ' : ''}GPU, or does not pass it on`;
  if (!known().includes(provider)) return `ONNX Runtime for ${platform} does not have it`;
  if (platform !== 'linux') return undefined;
  const library = join(runtimeFolder, 'libonnxruntime_providers_cuda.so');
  return provider === 'cuda' && !exists(library) ? `${library} is not installed` : undefined;
}

/** Describes each thing that a provider needs and the machine lacks. */
function findMissing(provider: string, machine: Machine): string[] {
  const known = machine.known();
  if (!known.includes(provider)) {
    return [`another build of ONNX Runtime (that for ${machine.platform} has ${known.join(', ')})`];
  }
  if (machine.platform !== 'linux') return [];
  return listLibraries(provider, machine.runtimeFolder).flatMap(({ path, what }) => {
    const reason = machine.loadLibrary(path);
    return reason === undefined ? [] : [describeMissing(path, what, reason)];
  });
}

/** The linker names the library that it cannot open, which may be one that the wanted library depends on. */
function describeMissing(path: string, what: string, reason: string): string {
  const absent = /^(\S+): cannot open shared object file/.exec(reason)?.[1];
  if (absent === undefined) return `${basename(path)} (${reason})`;
  if (absent === path) return `${basename(path)} (${what})`;
  return `${absent} (for ${basename(path)}, on LD_LIBRARY_PATH)`;
}

interface NeededLibrary {
  /** A path, or a name that the linker looks up. */
  readonly path: string;
  /** What the library is, or where it belongs. */
  readonly what: string;
}

/** Lists the libraries that ONNX Runtime loads for a provider on Linux. */
function listLibraries(provider: string, folder: string): readonly NeededLibrary[] {
  const bundled = (name: string): NeededLibrary => ({
    path: join(folder, `libonnxruntime_providers_${name}.so`),
    what: `in ${folder}`,
  });
  const cuda = [
    { path: 'libcuda.so.1', what: 'the NVIDIA driver' },
    bundled('shared'),
    bundled('cuda'),
    { path: 'libcudnn.so.9', what: 'cuDNN 9, on LD_LIBRARY_PATH' },
  ];
  switch (provider) {
    case 'cuda':
      return cuda;
    case 'tensorrt':
      return [...cuda, bundled('tensorrt')];
    case 'webgpu':
      return [{ path: 'libvulkan.so.1', what: 'the Vulkan loader, with a Vulkan driver of the GPU' }];
    default:
      return [];
  }
}

/** Gives the first line of a message of ONNX Runtime, without the source location that it begins with. */
function stripSourceLocation(text: string): string {
  return takeFirstLine(text).replace(/^\/onnxruntime_src\/.* was false\. /, '');
}

function takeFirstLine(text: string): string {
  return text.split('\n', 1)[0]?.trim() ?? '';
}

function readMachine(): Machine {
  return {
    platform: process.platform,
    known: () => {
      // eslint-disable-next-line @typescript-eslint/consistent-type-assertions -- `require` gives no types
      const runtime = require('onnxruntime-node') as typeof onnxRuntime;
      return runtime.listSupportedBackends().map(({ name }) => name);
    },
    runtimeFolder: findRuntimeFolder(),
    loadLibrary,
  };
}

/** Finds the folder where onnxruntime-node keeps the binaries of this platform. */
export function findRuntimeFolder(): string {
  const main = require.resolve('onnxruntime-node');
  return join(dirname(main), '..', 'bin', 'napi-v6', process.platform, process.arch);
}

/** Node rejects a library that is no addon only after loading it, so that error means that the library loads. */
function loadLibrary(path: string): string | undefined {
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_LAZY);
    return undefined;
  } catch (error) {
    const reason = takeFirstLine(error instanceof Error ? error.message : String(error));
    return /did not self-register|register itself/.test(reason) ? undefined : reason;
  }
}

/** The files and libraries that a process has open. Tests replace it. */
export interface ProcessView {
  readonly platform: NodeJS.Platform;
  /** Lists the paths of open files. */
  readonly openFiles: () => readonly string[];
  /** Lists the paths of loaded shared libraries. */
  readonly libraries: () => readonly string[];
}

/** The device files of GPUs: NVIDIA's driver, the kernel's other drivers, AMD's compute driver, and WSL's. */
const gpuDevice = /^\/dev\/(nvidia\d+|dri\/renderD\d+|kfd|dxg)$/;
/** The Vulkan drivers that compute on the CPU: SwiftShader and Mesa's llvmpipe. */
const softwareDriver = /\/(libvk_swiftshader|libvulkan_lvp)[^/]*$/;

/**
 * Makes sure that WebGPU runs on a GPU and not on a driver that computes on the CPU. ONNX Runtime does not tell which
 * adapter it took. On Linux, the driver of a real GPU keeps the GPU's device file open, and Dawn (the WebGPU
 * implementation) prefers such an adapter to a software one. Should Dawn take the software adapter all the same, the
 * warm-up is slower than the CPU's, and `auto` does not choose WebGPU.
 * @throws ProviderError naming the software driver, or saying that this cannot be told
 */
export function requireGpu(view: ProcessView = readProcess()): void {
  if (view.platform === 'darwin') return; // Metal has no software adapter.
  if (view.platform !== 'linux') {
    throw new ProviderError('whether webgpu runs on a real GPU cannot be told on this system');
  }
  if (view.openFiles().some((path) => gpuDevice.test(path))) return;
  const [driver] = view.libraries().filter((path) => softwareDriver.test(path));
  throw new ProviderError(
    driver === undefined
      ? 'webgpu runs on no GPU: no device file of one is open'
      : `webgpu runs on no GPU: ${driver} computes on the CPU`,
  );
}

function readProcess(): ProcessView {
  const folder = '/proc/self/fd';
  return {
    platform: process.platform,
    openFiles: () => readdirSync(folder).flatMap((name) => readLink(join(folder, name))),
    libraries: () => [...new Set(readFileSync('/proc/self/maps', 'utf8').match(/\/\S+\.so[^/\s]*$/gm) ?? [])],
  };
}

/** Gives an empty list when the file was closed in the meantime. */
function readLink(path: string): string[] {
  try {
    return [readlinkSync(path)];
  } catch {
    return [];
  }
}
