/**
 * Bundles on execution providers, on this machine and in one run. `bench/gpu.sh` installs what GPUs need and calls it.
 */
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { BenchError } from './figures/figure.js';
import { measureProvider } from './gpu/measure-provider.js';
import { type GpuReport, gpuReportText, type ProviderRow } from './gpu/report.js';
import { enlargedPhotos, usualLongSide } from './photos/enlarged-photos.js';

const usage = `Usage: node dist/bench/gpu.js --bundle NAME=DIR… --provider NAME… --photos DIR [options]

  --batch-sizes N,…   of the bare pipeline, the largest also of the service   [1,8,32]
  --concurrency N     requests side by side                                   [64]
  --seconds N         least time of each measurement                          [20]
  --count N           distinct photos, at least 64                            [400]
  --json FILE         write all numbers there too
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      bundle: { type: 'string', multiple: true, default: [] },
      provider: { type: 'string', multiple: true, default: [] },
      photos: { type: 'string', default: '' },
      'batch-sizes': { type: 'string', default: '1,8,32' },
      concurrency: { type: 'string', default: '64' },
      seconds: { type: 'string', default: '20' },
      count: { type: 'string', default: '400' },
      json: { type: 'string' },
    },
  });
  const { bundle: bundles, provider: providers } = values;
  if (bundles.length === 0 || providers.length === 0 || values.photos === '') throw new BenchError(usage);
  const run = {
    batchSizes: values['batch-sizes'].split(',').map(wholeNumber),
    concurrency: wholeNumber(values.concurrency),
    secondsEach: wholeNumber(values.seconds),
    photos: await enlargedPhotos(values.photos, wholeNumber(values.count), usualLongSide),
  };
  const rows: ProviderRow[] = [];
  for (const named of bundles) {
    const [, bundle = '', folder = ''] = /^([^=]+)=(.+)$/.exec(named) ?? [];
    if (folder === '') throw new BenchError(`--bundle takes NAME=DIR, not ${named}`);
    for (const provider of providers) {
      console.error(`bench: ${bundle} on ${provider}`);
      rows.push({
        bundle,
        provider,
        result: await measureProvider({ ...run, bundle: folder, provider }).catch(notMeasured),
      });
    }
  }
  const report: GpuReport = {
    gpus: gpuNames(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    node: process.version,
    photos: run.photos.length,
    rows,
  };
  console.log(gpuReportText(report));
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, undefined, 2)}\n`);
  if (rows.some(({ result }) => 'notMeasured' in result)) process.exitCode = 1;
}

/** Another provider may still run. */
function notMeasured(error: unknown): { notMeasured: string } {
  if (!(error instanceof BenchError)) throw error;
  return { notMeasured: error.message.replace(/\s+/g, ' ') };
}

/** What the NVIDIA driver lists; nothing without it. */
function gpuNames(): string[] {
  try {
    const query = ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'];
    return execFileSync('nvidia-smi', query, { encoding: 'utf8' }).trim().split('\n');
  } catch {
    return [];
  }
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new BenchError(`${text} is not a whole number\n${usage}`);
  return Number(text);
}

try {
  await main();
} catch (error) {
  console.error(
    `bench: ${error instanceof BenchError ? error.message : error instanceof Error ? error.stack : String(error)}`,
  );
  // Ends the processes that are still running, too.
  process.exit(1);
}
