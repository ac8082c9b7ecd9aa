import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProviderMeasurement } from '../../bench/gpu/measure-provider.js';
import { gpuReportText, type ProviderRow } from '../../bench/gpu/report.js';

function measured(
  provider: string,
  decoder: string,
  ...rates: readonly [batchSize: number, perSecond: number][]
) {
  const result: ProviderMeasurement = {
    model: { id: 'x', version: '1', provider, precision: 'w8', placement: { decoder } },
    startToReadyMs: 5000,
    bare: rates.map(([batchSize, imagesPerSecond]) => ({
      batchSize,
      imagesPerSecond,
      encodeMs: 1.25,
      mixupMs: 2.5,
      captionMs: 3.75,
      scoreMs: 5,
    })),
    service: { concurrency: 64, imagesPerSecond: 90, p50Ms: 700 },
    singleP50Ms: 21,
  };
  return result;
}

function report(rows: readonly ProviderRow[]): string[] {
  const machine = { gpus: ['GPU A, 580.1, 80 GB'], cpu: 'CPU B', cores: 4, node: 'v20.19.0', photos: 64 };
  return gpuReportText({ ...machine, rows }).split('\n');
}

/** The cells of the rows that begin with this bundle. */
function cells(lines: readonly string[], bundle: string): string[][] {
  return lines
    .filter((line) => line.startsWith(`| ${bundle}`))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );
}

test('a provider is compared with the CPU of the same bundle, each at its best batch size', () => {
  const lines = report([
    { bundle: 'small', provider: 'cpu', result: measured('cpu', 'cpu', [1, 10], [8, 20], [32, 15]) },
    { bundle: 'small', provider: 'webgpu', result: measured('webgpu', 'cpu', [1, 30], [8, 40], [32, 50]) },
    { bundle: 'large', provider: 'cpu', result: measured('cpu', 'cpu', [8, 2]) },
    { bundle: 'large', provider: 'webgpu', result: measured('webgpu', 'webgpu', [8, 25]) },
  ]);
  assert.match(lines[0] ?? '', /GPU A, 580\.1, 80 GB; 4 cores \(CPU B\)/);
  assert.deepEqual(cells(lines, 'small').slice(0, 2), [
    ['small', 'cpu w8', 'cpu', '20.0', '8', '1.00', '90.0 at 64', '700', '21'],
    ['small', 'webgpu w8', 'cpu', '50.0', '32', '2.50', '90.0 at 64', '700', '21'],
  ]);
  assert.equal(cells(lines, 'large')[1]?.[5], '12.50');
  // The stages of every batch size.
  assert.deepEqual(cells(lines, 'small, webgpu')[1], ['small, webgpu', '8', '1.3', '2.5', '3.8', '5.0']);
});

test('a provider that does not run is in the table, with the reason below', () => {
  const lines = report([
    { bundle: 'small', provider: 'cuda', result: { notMeasured: 'it needs libcudnn.so.9' } },
    { bundle: 'small', provider: 'webgpu', result: measured('webgpu', 'cpu', [8, 40]) },
  ]);
  const [cuda, webgpu] = cells(lines, 'small');
  assert.deepEqual(cuda?.slice(0, 4), ['small', 'cuda', '', 'not measured']);
  assert.equal(webgpu?.[5], '');
  assert.equal(lines.at(-1), '- small on cuda was not measured: it needs libcudnn.so.9');
});
