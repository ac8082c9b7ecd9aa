import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ChosenProvider, chooseProvider } from '../../src/scheduler/choose-provider.js';
import { WorkerDied, WorkerRefused } from '../../src/scheduler/worker-process.js';
import { BundleError, type BundleManifest } from '../../src/inference/manifest.js';
import { ProviderError } from '../../src/inference/providers.js';
import { exampleManifest } from '../inference/example-bundle.js';

const graphs = { encoder: 'e', mixup: 'm', decoder: 'd', textEncoder: 't' };
const everyPrecision = { fp32: graphs, int8: graphs, w8: graphs, fp16: graphs };

interface Scene {
  provider?: string;
  devices?: string[];
  precisions?: BundleManifest['precisions'];
  /** Milliseconds of the largest batch, or how the warm-up ends instead. */
  warmUps?: Record<string, number | Error>;
  /** Processes of each provider, one if not given. */
  processes?: Record<string, number>;
  lacks?: Record<string, string>;
}

async function choose(scene: Scene) {
  const log: string[] = [];
  const tried: ChosenProvider[] = [];
  const chosen = await chooseProvider({
    provider: scene.provider ?? 'auto',
    devices: scene.devices ?? [],
    manifest: { ...exampleManifest, precisions: scene.precisions ?? { w8: graphs } },
    maxBatch: 8,
    lackOf: (provider) => scene.lacks?.[provider],
    processesOf: ({ provider }) => scene.processes?.[provider] ?? 1,
    probe(choice) {
      tried.push(choice);
      const largest = scene.warmUps?.[choice.provider] ?? new WorkerRefused('is not there');
      if (largest instanceof Error) return Promise.reject(largest);
      const placement = { encoder: 'x', mixup: 'x', decoder: 'x', textEncoder: 'x' };
      return Promise.resolve({ single: 1, largest, placement });
    },
    logger: { info: (...line: unknown[]) => void log.push(String(line.at(-1))) },
  });
  return { chosen, log, tried: tried.map(({ provider }) => provider) };
}

describe('the provider auto', () => {
  it('is the GPU that warms up faster than the CPU', async () => {
    const { chosen, log, tried } = await choose({ warmUps: { cuda: 10, cpu: 400 } });
    assert.deepEqual(chosen, { provider: 'cuda', precision: 'w8' });
    assert.deepEqual(tried, ['cuda', 'cpu']);
    assert.deepEqual(log, ['provider cuda is taken: it warmed up at 800.0 images/s, the CPU at 20.0']);
  });

  it('is the CPU when no GPU is faster, and the log tells how fast each was', async () => {
    const { chosen, log } = await choose({ warmUps: { cuda: 400, webgpu: 900, cpu: 400 } });
    assert.equal(chosen.provider, 'cpu');
    assert.deepEqual(log, [
      'provider cuda is not taken: it warmed up at 20.0 images/s, the CPU at 20.0',
      'provider webgpu is not taken: it warmed up at 8.9 images/s, the CPU at 20.0',
      'provider cpu is taken',
    ]);
  });

  it('counts all processes of either', async () => {
    const warmUps = { cuda: 200, cpu: 400 };
    assert.equal((await choose({ warmUps, processes: { cpu: 4 } })).chosen.provider, 'cpu');
    assert.equal((await choose({ warmUps, processes: { cpu: 4, cuda: 3 } })).chosen.provider, 'cuda');
  });

  it('logs why a GPU was refused or died, and goes on', async () => {
    const { chosen, log } = await choose({
      warmUps: {
        cuda: new WorkerRefused('provider cuda does not run here'),
        webgpu: new WorkerDied('crash', 'ended by SIGSEGV'),
      },
    });
    assert.equal(chosen.provider, 'cpu');
    assert.deepEqual(log.slice(0, 2), [
      'provider cuda is not taken: provider cuda does not run here',
      'provider webgpu is not taken: ended by SIGSEGV',
    ]);
  });

  it('starts nothing on a machine that plainly has no GPU', async () => {
    const { chosen, log, tried } = await choose({ lacks: { cuda: 'no GPU', webgpu: 'no GPU' } });
    assert.equal(chosen.provider, 'cpu');
    assert.deepEqual(tried, []);
    assert.equal(log[0], 'provider cuda is not taken: no GPU');
  });

  it('does not take a provider that cannot tell the wanted devices apart', async () => {
    const { tried, log } = await choose({ devices: ['0', '1'], warmUps: { webgpu: 1, cpu: 400 } });
    assert.deepEqual(tried, ['cuda']);
    assert.match(log[1] ?? '', /webgpu is not taken: its devices have no numbers/);
  });

  it('does not hide an error that is nobody’s refusal', async () => {
    await assert.rejects(choose({ warmUps: { cuda: new TypeError('a mistake') } }), TypeError);
  });
});

describe('the precision', () => {
  it('is fp16 on GPUs and int8 on CPUs, and w8 on both where there is no better', async () => {
    const of = async (provider: string, precisions: BundleManifest['precisions']) =>
      (await choose({ provider, precisions })).chosen.precision;
    assert.equal(await of('cuda', everyPrecision), 'fp16');
    assert.equal(await of('webgpu', everyPrecision), 'fp16');
    assert.equal(await of('cpu', everyPrecision), 'int8');
    assert.equal(await of('cuda', { int8: graphs, w8: graphs }), 'w8');
    assert.equal(await of('cpu', { fp16: graphs, w8: graphs }), 'w8');
  });

  it('must be one that the named provider runs', async () => {
    await assert.rejects(choose({ provider: 'cuda', precisions: { int8: graphs } }), BundleError);
  });
});

describe('a named provider', () => {
  it('is taken without trying it beside others', async () => {
    const { chosen, tried } = await choose({ provider: 'tensorrt', devices: ['1'] });
    assert.deepEqual([chosen.provider, tried], ['tensorrt', []]);
  });

  it('is refused in a sentence where it plainly has no GPU', async () => {
    await assert.rejects(
      choose({ provider: 'cuda', lacks: { cuda: 'this machine has no GPU' } }),
      /^ProviderError: PROVIDER=cuda does not run here: this machine has no GPU; PROVIDER=auto does$/,
    );
  });

  it('is refused devices by number when it cannot tell them apart', async () => {
    for (const provider of ['cpu', 'webgpu', 'coreml'])
      await assert.rejects(choose({ provider, devices: ['0', '1'] }), ProviderError);
  });
});
