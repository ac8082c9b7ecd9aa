import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ProviderError } from './providers.js';

/** What a process tells of the devices it uses; replaced in tests. */
export interface ProcessView {
  readonly platform: NodeJS.Platform;
  /** Paths of the files that are open. */
  readonly openFiles: () => readonly string[];
  /** Paths of the shared libraries that are loaded. */
  readonly libraries: () => readonly string[];
}

/** Device files of GPUs: NVIDIA, every other driver of the kernel, AMD's compute driver, and WSL. */
const gpuDevice = /^\/dev\/(nvidia\d+|dri\/renderD\d+|kfd|dxg)$/;
/** Vulkan drivers that compute on the CPU: SwiftShader and Mesa's llvmpipe. */
const softwareDriver = /\/(libvk_swiftshader|libvulkan_lvp)[^/]*$/;

/**
 * Makes sure that WebGPU runs on a GPU, and not on a driver that computes on the CPU. ONNX Runtime does not tell which
 * adapter it took. On Linux a driver of a real GPU keeps the GPU's device file open, and Dawn prefers such an adapter
 * to a software one; should it take the software one all the same, the warm-up is slower than the CPU's.
 * @throws ProviderError naming what it runs on, or that this cannot be told
 */
export function requireGpu(view: ProcessView = thisProcess()): void {
  if (view.platform === 'darwin') return; // Metal has no software adapter
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

function thisProcess(): ProcessView {
  const folder = '/proc/self/fd';
  return {
    platform: process.platform,
    openFiles: () => readdirSync(folder).flatMap((name) => linkTarget(join(folder, name))),
    libraries: () => [...new Set(readFileSync('/proc/self/maps', 'utf8').match(/\/\S+\.so[^/\s]*$/gm) ?? [])],
  };
}

/** Nothing when the file has been closed since. */
function linkTarget(path: string): string[] {
  try {
    return [readlinkSync(path)];
  } catch {
    return [];
  }
}
