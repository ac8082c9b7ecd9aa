import { availableParallelism, cpus } from 'node:os';
import type { BareTry } from '../bare/best-bare.js';
import { median, percentile } from '../measure/statistics.js';
import { markdownTable } from '../measure/table.js';
import { againstTarget, type Target } from '../measure/target.js';
import type { ServedModel } from '../service/served-model.js';
import type { ServiceWindow } from '../service/service-window.js';
import type { Round } from './service-and-bare-rounds.js';

export interface Measurements {
  readonly model: ServedModel;
  /** Distinct photos. */
  readonly photos: number;
  readonly startToReadyMs: number;
  readonly memoryBytes: readonly (number | undefined)[];
  readonly best: BareTry;
  readonly tries: readonly BareTry[];
  readonly rounds: readonly Round[];
}

export type Summary = ReturnType<typeof summarise>;

const stages = ['decodeMs', 'encodeMs', 'mixupMs', 'captionMs', 'scoreMs'] as const;
type StageTimes = Readonly<Record<(typeof stages)[number], number>>;

/** Medians over the rounds; ratios are medians of each round's own ratio. */
export function summarise({ rounds, best, tries, memoryBytes, ...facts }: Measurements) {
  const at = (windows: readonly ServiceWindow[]) => {
    const latencies = windows.flatMap(({ latenciesMs }) => latenciesMs);
    const timings = windows.flatMap((window) => window.timings);
    return {
      answers: latencies.length,
      imagesPerSecond: median(windows.map(({ imagesPerSecond }) => imagesPerSecond)),
      p50Ms: median(latencies),
      p99Ms: percentile(latencies, 0.99),
      ...stageMedians(timings),
      queueMs: median(timings.map(({ queueMs }) => queueMs)),
      clientCores: median(windows.map(({ clientCores }) => clientCores)),
      eventLoopDelayP99Ms: largest(windows.map(({ eventLoopDelayMs }) => eventLoopDelayMs)),
    };
  };
  const throughputRatios = rounds.map(({ at32, bare }) => at32.imagesPerSecond / bare.imagesPerSecond);
  const latencyRatios = rounds.map(
    ({ at1, singles }) => median(at1.latenciesMs) / sumOfStages(stageMedians(singles)),
  );
  const singles = stageMedians(rounds.flatMap((round) => round.singles));
  return {
    ...facts,
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: availableParallelism(), node: process.version },
    service: {
      at1: at(rounds.map(({ at1 }) => at1)),
      at8: at(rounds.map(({ at8 }) => at8)),
      at32: at(rounds.map(({ at32 }) => at32)),
    },
    bare: {
      plan: best.plan,
      batchSize: best.batchSize,
      imagesPerSecond: median(rounds.map(({ bare }) => bare.imagesPerSecond)),
      ...stageMedians(rounds.flatMap(({ bare }) => bare.timings)),
      tries,
    },
    singles: { ...singles, sumMs: sumOfStages(singles) },
    peakMemoryBytes: largest(memoryBytes),
    serviceAt32ToBare: { median: median(throughputRatios), rounds: throughputRatios },
    p50At1ToStages: { median: median(latencyRatios), rounds: latencyRatios },
  };
}

function stageMedians(timings: readonly StageTimes[]): StageTimes {
  const of = (stage: keyof StageTimes): number => median(timings.map((timing) => timing[stage]));
  return {
    decodeMs: of('decodeMs'),
    encodeMs: of('encodeMs'),
    mixupMs: of('mixupMs'),
    captionMs: of('captionMs'),
    scoreMs: of('scoreMs'),
  };
}

function sumOfStages(times: StageTimes): number {
  return stages.reduce((sum, stage) => sum + times[stage], 0);
}

function largest(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}

export function report(summary: Summary): string {
  const { model, machine, bare, singles, service } = summary;
  const { at1, at8, at32 } = service;
  return [
    `${model.id} ${model.version}, ${model.precision} on ${model.provider}; ${machine.cores} cores (${machine.cpu}), Node.js ${machine.node}`,
    `${summary.photos} distinct photos, cache off; medians of ${summary.serviceAt32ToBare.rounds.length} rounds`,
    '',
    markdownTable(
      ['', 'images/s', 'p50 ms', 'p99 ms', 'answers'],
      [
        rateRow('service, concurrency 1', at1),
        rateRow('service, concurrency 8', at8),
        rateRow('service, concurrency 32', at32),
        [
          `bare pipeline: ${bare.plan}, batches of ${bare.batchSize}`,
          bare.imagesPerSecond.toFixed(1),
          '',
          '',
          '',
        ],
      ],
    ),
    '',
    markdownTable(
      ['median ms', 'queue', 'decode', 'encode', 'mixup', 'caption', 'score'],
      [
        ['bare, a single photo', '', ...stageCells(singles)],
        ['service, concurrency 1', at1.queueMs.toFixed(1), ...stageCells(at1)],
        ['service, concurrency 8', at8.queueMs.toFixed(1), ...stageCells(at8)],
        ['service, concurrency 32', at32.queueMs.toFixed(1), ...stageCells(at32)],
        [`bare, a batch of ${bare.batchSize}`, '', ...stageCells(bare)],
      ],
    ),
    'Stages from encode on are those of the batch a photo was in; decode is that of one photo, waiting for a free decoder included.',
    '',
    markdownTable(
      ['', 'measured'],
      [
        ['images/s at concurrency 32 ÷ bare pipeline', ratio(summary.serviceAt32ToBare, { atLeast: 0.9 })],
        [
          'p50 at concurrency 1 ÷ sum of the stages of a single photo',
          ratio(summary.p50At1ToStages, { atMost: 1.25 }),
        ],
        ['start to ready', `${(summary.startToReadyMs / 1000).toFixed(1)} s`],
        ['peak memory of all processes of the service', memory(summary.peakMemoryBytes)],
        ['event-loop delay p99 of the serving process at 32', eventLoopDelay(at32.eventLoopDelayP99Ms)],
        ['CPU of the load generator at 32, not left to the service', `${at32.clientCores.toFixed(2)} cores`],
      ],
    ),
  ].join('\n');
}

function rateRow(
  name: string,
  { imagesPerSecond, p50Ms, p99Ms, answers }: Summary['service']['at1'],
): string[] {
  return [name, imagesPerSecond.toFixed(1), p50Ms.toFixed(0), p99Ms.toFixed(0), String(answers)];
}

function stageCells(times: StageTimes): string[] {
  return stages.map((stage) => times[stage].toFixed(1));
}

function ratio(
  { median: middle, rounds }: { median: number; rounds: readonly number[] },
  target: Target,
): string {
  return `${againstTarget(middle, target)}, rounds ${Math.min(...rounds).toFixed(2)} … ${Math.max(...rounds).toFixed(2)}`;
}

function memory(bytes: number | undefined): string {
  return bytes === undefined
    ? 'not measured: only Linux tells the proportional set size'
    : `${(bytes / 1024 ** 2).toFixed(0)} MiB (sum of PSS)`;
}

function eventLoopDelay(ms: number | undefined): string {
  return ms === undefined ? 'not exposed' : `${ms.toFixed(0)} ms (10 ms of it is the clock’s interval)`;
}
