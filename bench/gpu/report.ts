import { markdownTable } from '../measure/table.js';
import type { BareRate, ProviderMeasurement } from './measure-provider.js';

/** A row of the table: what was measured, or why it was not. */
export interface ProviderRow {
  readonly bundle: string;
  readonly provider: string;
  readonly result: ProviderMeasurement | { readonly notMeasured: string };
}

export interface GpuReport {
  /** The machine's words for its GPUs, one each; empty when it has none. */
  readonly gpus: readonly string[];
  readonly cpu: string;
  readonly cores: number;
  readonly node: string;
  readonly photos: number;
  readonly rows: readonly ProviderRow[];
}

/** The report as Markdown; rates are compared with the CPU's of the same bundle in the same run. */
export function gpuReportText(report: GpuReport): string {
  const { gpus, cpu, cores, node, photos, rows } = report;
  const failed = rows.flatMap(({ bundle, provider, result }) =>
    'notMeasured' in result ? [`- ${bundle} on ${provider} was not measured: ${result.notMeasured}`] : [],
  );
  return [
    `${gpus.length === 0 ? 'No GPU' : gpus.join('; ')}; ${cores} cores (${cpu}), Node.js ${node}; ${photos} distinct photos, cache off`,
    '',
    markdownTable(
      [
        'bundle',
        'provider',
        'decoder',
        'bare images/s',
        'batch',
        '÷ CPU',
        'HTTP images/s',
        'p50 ms',
        'p50 ms at 1',
      ],
      rows.map((row) => rateCells(row, cpuRate(rows, row.bundle))),
    ),
    '',
    markdownTable(
      ['median ms of a batch', 'batch', 'encode', 'mixup', 'caption', 'score'],
      rows.flatMap(stageRows),
    ),
    ...(failed.length === 0 ? [] : ['', ...failed]),
  ].join('\n');
}

function cpuRate(rows: readonly ProviderRow[], bundle: string): number | undefined {
  const row = rows.find((each) => each.bundle === bundle && each.provider === 'cpu');
  return row === undefined || 'notMeasured' in row.result ? undefined : best(row.result).imagesPerSecond;
}

function best({ bare }: ProviderMeasurement): BareRate {
  return bare.reduce((fastest, each) => (each.imagesPerSecond > fastest.imagesPerSecond ? each : fastest));
}

function rateCells({ bundle, provider, result }: ProviderRow, cpu: number | undefined): string[] {
  if ('notMeasured' in result) return [bundle, provider, '', 'not measured', '', '', '', '', ''];
  const { imagesPerSecond, batchSize } = best(result);
  return [
    bundle,
    `${provider} ${result.model.precision}`,
    result.model.placement?.decoder ?? '',
    imagesPerSecond.toFixed(1),
    String(batchSize),
    cpu === undefined ? '' : (imagesPerSecond / cpu).toFixed(2),
    `${result.service.imagesPerSecond.toFixed(1)} at ${result.service.concurrency}`,
    result.service.p50Ms.toFixed(0),
    result.singleP50Ms.toFixed(0),
  ];
}

function stageRows({ bundle, provider, result }: ProviderRow): string[][] {
  if ('notMeasured' in result) return [];
  return result.bare.map((rate) => [
    `${bundle}, ${provider}`,
    String(rate.batchSize),
    rate.encodeMs.toFixed(1),
    rate.mixupMs.toFixed(1),
    rate.captionMs.toFixed(1),
    rate.scoreMs.toFixed(1),
  ]);
}
