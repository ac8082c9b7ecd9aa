import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { WorkOutcome } from '../inference/messages.js';
import type { ServedModel } from './model.js';
import { isPastDeadline } from '../promises.js';

/** Why an image was turned away or dropped. */
const dropReasons = ['queue_full', 'not_ready', 'draining', 'deadline', 'gone', 'crash'] as const;
export type DropReason = (typeof dropReasons)[number];
/** Why the image of an aborted request is dropped. */
export function dropReasonOf(signal: AbortSignal): DropReason {
  return isPastDeadline(signal) ? 'deadline' : 'gone';
}

/** Why a worker process is replaced. */
const restartReasons = ['crash', 'hang', 'start'] as const;
export type RestartReason = (typeof restartReasons)[number];
/** How loading the bundle again ended. */
const reloadOutcomes = ['swapped', 'failed'] as const;
export type ReloadOutcome = (typeof reloadOutcomes)[number];

export interface EngineMetrics {
  /** The run of a batch begins; how long each of its images waited, in milliseconds. */
  batchRuns(waitedMs: readonly number[]): void;
  /** An image was decoded, or refused while it was. */
  decoded(decodeMs: number): void;
  answered(outcome: WorkOutcome): void;
  /** @param images how many were dropped at once */
  dropped(reason: DropReason, images: number): void;
  workerRestarted(reason: RestartReason): void;
  modelReloaded(outcome: ReloadOutcome): void;
}

/** What gauges read when they are scraped. */
export interface EngineGauges {
  readonly waiting: () => number;
  readonly slotsUsed: () => number;
  readonly workersReady: () => number;
  readonly model: () => ServedModel | undefined;
}

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Registers the engine's metrics, all named `pcm_caption_*`, in base units: seconds, images, ratios. */
export function createEngineMetrics(registry: Registry, gauges: EngineGauges): EngineMetrics {
  const registers = [registry];
  gauge('queue_images', 'Images that wait for a worker', gauges.waiting);
  gauge('slots_used', 'Slots in use: images that are admitted, waiting or running', gauges.slotsUsed);
  gauge('workers_ready', 'Inference processes that are warm', gauges.workersReady);
  function gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name: `pcm_caption_${name}`,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  }

  new Gauge({
    name: 'pcm_caption_model_info',
    help: 'The model that serves now; always 1',
    labelNames: ['id', 'version', 'provider', 'precision'],
    registers,
    collect() {
      this.reset();
      const model = gauges.model();
      if (model === undefined) return;
      const { bundle, provider, precision } = model;
      this.set({ id: bundle.id, version: bundle.version, provider, precision }, 1);
    },
  });
  const queueWait = new Histogram({
    name: 'pcm_caption_queue_wait_seconds',
    help: 'Time an image waits for a worker',
    buckets: seconds,
    registers,
  });
  const batchImages = new Histogram({
    name: 'pcm_caption_batch_images',
    help: 'Images in one run of the model',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
    registers,
  });
  const stage = new Histogram({
    name: 'pcm_caption_stage_seconds',
    help: 'Time of each stage: decode for an image, the others for the batch it was in',
    labelNames: ['stage'],
    buckets: seconds,
    registers,
  });
  const confidence = new Histogram({
    name: 'pcm_caption_confidence',
    help: 'Confidence of the best caption',
    buckets: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
    registers,
  });
  const drops = new Counter({
    name: 'pcm_caption_dropped_images_total',
    help: 'Images turned away or dropped, by reason',
    labelNames: ['reason'],
    registers,
  });
  const restarts = new Counter({
    name: 'pcm_caption_worker_restarts_total',
    help: 'Inference processes that were replaced, by reason',
    labelNames: ['reason'],
    registers,
  });
  const reloads = new Counter({
    name: 'pcm_caption_model_reloads_total',
    help: 'Times the bundle was loaded again while serving, by outcome',
    labelNames: ['outcome'],
    registers,
  });
  // To Prometheus a series that begins at 1 has not increased: an alert would miss the first event.
  for (const reason of dropReasons) drops.inc({ reason }, 0);
  for (const reason of restartReasons) restarts.inc({ reason }, 0);
  for (const outcome of reloadOutcomes) reloads.inc({ outcome }, 0);

  return {
    batchRuns(waitedMs) {
      if (waitedMs.length === 0) return;
      batchImages.observe(waitedMs.length);
      for (const ms of waitedMs) queueWait.observe(ms / 1000);
    },
    decoded(decodeMs) {
      stage.observe({ stage: 'decode' }, decodeMs / 1000);
    },
    answered(outcome) {
      stage.observe({ stage: 'encode' }, outcome.timing.encodeMs / 1000);
      stage.observe({ stage: 'score' }, outcome.timing.scoreMs / 1000);
      if (!('candidates' in outcome)) return;
      const [best] = outcome.candidates;
      if (best !== undefined) confidence.observe(best.confidence);
      stage.observe({ stage: 'mixup' }, outcome.timing.mixupMs / 1000);
      stage.observe({ stage: 'caption' }, outcome.timing.captionMs / 1000);
    },
    dropped: (reason, images) => {
      drops.inc({ reason }, images);
    },
    workerRestarted: (reason) => {
      restarts.inc({ reason });
    },
    modelReloaded: (outcome) => {
      reloads.inc({ outcome });
    },
  };
}
