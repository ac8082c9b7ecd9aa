import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { pino } from 'pino';
import { type Config, ConfigError, type Environment, readConfig } from './config.js';
import { findIneffectiveSettings } from './ineffective-settings.js';
import { checkFiles, choosePrecision, readManifest, restrictPrecision } from './inference/bundle.js';
import { gpuUnavailableReason } from './inference/providers.js';
import { findAddressProblem } from './listen-address.js';
import { chooseProtocols } from './protocols/list.js';
import { usableCores, usableMemory, workersInMemory } from './scheduler/resources.js';
import { tryProvider } from './scheduler/start-scheduler.js';

/** One thing that was looked at. */
export interface Finding {
  /** What it is about. */
  readonly name: string;
  /** `absent` is what the service does without, `problem` what it does not start with. */
  readonly state: 'ok' | 'note' | 'absent' | 'problem';
  readonly detail: string;
}

const providers = ['cpu', 'cuda', 'tensorrt', 'webgpu', 'coreml', 'dml'];

/** Instructions that the model is faster with, by their names in /proc/cpuinfo. */
const cpuFeatures: Readonly<Record<string, string>> = {
  avx2: 'AVX2',
  avx512f: 'AVX-512',
  avx_vnni: 'AVX-VNNI',
  avx512_vnni: 'AVX-512 VNNI',
  amx_int8: 'AMX',
  asimddp: 'dot product',
  i8mm: 'I8MM',
};

/** Looks at everything that the service needs, what is found first first. It takes as long as loading the model. */
export async function* diagnose(environment: Environment): AsyncGenerator<Finding> {
  yield { name: 'Node.js', ...checkNode(process.versions.node) };
  yield { name: 'CPU', ...describeCpu(readCpuInfo()) };
  let config: Config;
  try {
    config = readConfig(environment);
    chooseProtocols(config.protocols);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const detail of error.message.split('\n')) yield { name: 'settings', state: 'problem', detail };
    return;
  }
  for (const detail of findIneffectiveSettings(config)) yield { name: 'settings', state: 'note', detail };
  yield { name: 'bundle', ...(await checkBundle(config)) };
  yield { name: 'memory', ...(await checkMemory(config)) };
  for (const provider of providers) yield { name: provider, ...(await checkProvider(config, provider)) };
  yield { name: 'address', ...(await checkAddress(config)) };
}

type Check = Omit<Finding, 'name'>;

/** The versions that package.json's `engines` allows. */
export function checkNode(version: string): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isTaken = major > 20 || (major === 20 && minor >= 19);
  return isTaken
    ? { state: 'ok', detail: version }
    : { state: 'problem', detail: `${version}; 20.19 or newer is needed` };
}

/** @param cpuInfo the content of /proc/cpuinfo, empty where there is none */
export function describeCpu(cpuInfo: string): Check {
  const model = cpus()[0]?.model.trim() ?? 'unknown';
  const flags = new Set(/^(?:flags|Features)\s*: (.*)$/m.exec(cpuInfo)?.[1]?.split(' '));
  const features = Object.entries(cpuFeatures).flatMap(([flag, name]) => (flags.has(flag) ? [name] : []));
  const detail = [model, `${usableCores()} cores may be used`, ...features].join(', ');
  const isSlow = process.arch === 'x64' && flags.size > 0 && !flags.has('avx2');
  return { state: isSlow ? 'note' : 'ok', detail: isSlow ? `${detail}; without AVX2 it is slow` : detail };
}

function readCpuInfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return ''; // not Linux
  }
}

async function checkBundle({ modelPath }: Config): Promise<Check> {
  try {
    const manifest = await readManifest(modelPath);
    const changed: string[] = [];
    for await (const { name, state } of checkFiles(modelPath, manifest))
      if (state !== 'ok') changed.push(name);
    if (changed.length > 0) {
      return { state: 'problem', detail: `in MODEL_PATH=${modelPath} changed: ${changed.join(', ')}` };
    }
    const precisions = Object.keys(manifest.precisions).join(', ');
    return { state: 'ok', detail: `${manifest.id} ${manifest.version} in ${modelPath}, with ${precisions}` };
  } catch (error) {
    return { state: 'problem', detail: `MODEL_PATH=${modelPath}: ${messageOf(error)}` };
  }
}

async function checkMemory({ modelPath, precision }: Config): Promise<Check> {
  const usable = `${(usableMemory() / 1024 ** 3).toFixed(1)} GiB may be used`;
  try {
    const manifest = restrictPrecision(await readManifest(modelPath), precision);
    const workers = workersInMemory(manifest, choosePrecision(manifest, 'cpu'));
    const room = `${usable}: room for ${Math.max(0, workers)} inference processes`;
    return workers < 1
      ? { state: 'note', detail: `${room}; it may be ended for want of memory` }
      : { state: 'ok', detail: room };
  } catch {
    return { state: 'ok', detail: usable }; // the bundle's own line says what is wrong
  }
}

/** What `auto` passes over is absent; it is a problem where it was named, and for the CPU, which `auto` needs. */
async function checkProvider(config: Config, provider: string): Promise<Check> {
  const isNeeded = config.provider === provider || (config.provider === 'auto' && provider === 'cpu');
  const state = isNeeded ? 'problem' : 'absent';
  const isSoftware = provider === 'cpu' || (provider === 'webgpu' && config.provider === provider);
  const lack = isSoftware ? undefined : gpuUnavailableReason(provider);
  if (lack !== undefined) return { state, detail: lack };
  try {
    const logger = pino({ level: 'silent' });
    const { precision, processes, imagesPerSecond } = await tryProvider(config, provider, logger);
    const rate = `about ${imagesPerSecond.toFixed(0)} images/s in batches of ${config.maxBatchSize}`;
    return { state: 'ok', detail: `runs ${precision} in ${processes} process(es), ${rate}` };
  } catch (error) {
    return { state, detail: messageOf(error) };
  }
}

async function checkAddress(config: Config): Promise<Check> {
  const problem = await findAddressProblem(config);
  if (problem !== undefined) return { state: 'problem', detail: problem };
  return { state: 'ok', detail: `HOST=${config.host} and PORT=${config.port} can be listened on` };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
