import { EventEmitter, on } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Registry } from 'prom-client';
import { ConceptCost } from '../../src/engine/concept-cost.js';
import type { Engine, Priority, Reservation } from '../../src/engine/engine.js';
import { type BundleEngine, type SharedParts, startEngine } from '../../src/engine/start-engine.js';
import { startSwappableEngine, type SwappableEngine } from '../../src/engine/swappable-engine.js';
import type { EngineLogger } from '../../src/engine/worker-process.js';
import type { CaptionItem, CaptionOptions, LoadOrder, ScoreItem } from '../../src/runtime/messages.js';
import { exampleFacts } from '../runtime/example-bundle.js';
import { fates, type StartFate } from './fates.js';

export interface TestEngine {
  readonly engine: SwappableEngine;
  /** What the next start of a worker will do. */
  readonly setStart: (fate: StartFate) => void;
  /** What the bundle that is loaded next will be called. */
  readonly setBundle: (id: string) => void;
  /** Resolves when a line with this text is logged after the call. */
  readonly logged: (text: string) => Promise<void>;
  /** The value of a metric with these labels, `pcm_caption_` left out. */
  readonly metric: (name: string, labels?: Record<string, string>) => Promise<number>;
}

export interface TestEngineOptions {
  readonly workers?: number;
  /** One more, for images that are alone. */
  readonly hasLoneWorker?: boolean;
  readonly start?: StartFate;
  readonly maxBatchSize?: number;
  readonly batchDelayMs?: number;
  readonly maxQueueImages?: number;
  readonly shutdownGraceMs?: number;
  readonly hangTimeoutMs?: number;
  readonly startTimeoutMs?: number;
  readonly cacheSize?: number;
  readonly workersInMemory?: number;
}

/** An engine over fake workers; drained when the test is over. */
export async function startTestEngine(t: TestContext, options: TestEngineOptions = {}): Promise<TestEngine> {
  const startFile = join(mkdtempSync(join(tmpdir(), 'pcm-caption-engine-')), 'start');
  const setStart = (fate: StartFate): void => {
    writeFileSync(startFile, fate);
  };
  setStart(options.start ?? 'warm');
  const registry = new Registry();
  const log = new EventEmitter();
  const write = (...line: unknown[]): void => void log.emit('line', line.at(-1));
  const logger: EngineLogger = { debug: write, info: write, warn: write, error: write };

  const order: LoadOrder = {
    type: 'load',
    bundlePath: startFile,
    provider: 'cpu',
    precision: 'w8',
    gpuOnly: false,
    device: 0,
    threads: 1,
    maxBatch: 8,
    conceptCacheSize: 10,
    heartbeatMs: 20,
  };
  let bundleId = 'example';
  const start = (shared: SharedParts): Promise<BundleEngine> =>
    startEngine({
      settings: {
        maxBatchSize: options.maxBatchSize ?? 8,
        batchDelayMs: options.batchDelayMs ?? 0,
        maxQueueImages: options.maxQueueImages ?? 256,
        shutdownGraceMs: options.shutdownGraceMs ?? 30_000,
      },
      bundle: { ...exampleFacts, id: bundleId, digest: `digest of ${bundleId}` },
      provider: 'cpu',
      precision: 'w8',
      orders: Array.from({ length: options.workers ?? 1 }, () => order),
      loneOrder: options.hasLoneWorker === true ? order : undefined,
      workersAtFirst: (options.workersInMemory ?? Infinity) - (shared.predecessor?.processes ?? 0),
      workerEntry: new URL('fake-worker.js', import.meta.url),
      timings: {
        startTimeoutMs: options.startTimeoutMs ?? 30_000,
        hangTimeoutMs: options.hangTimeoutMs ?? 30_000,
        stopTimeoutMs: 1000,
      },
      conceptCost: new ConceptCost({ prompts: 2, cacheSize: 10 }),
      logger,
      shared,
    });
  const engine = await startSwappableEngine({
    start,
    cacheSize: options.cacheSize ?? 0,
    logger,
    registry,
  });
  t.after(() => engine.drain());
  return {
    engine,
    setStart,
    setBundle(id) {
      bundleId = id;
    },
    async logged(text) {
      for await (const [line] of on(log, 'line')) if (String(line).includes(text)) return;
    },
    async metric(name, labels = {}) {
      const metric = await registry.getSingleMetric(`pcm_caption_${name}`)?.get();
      const found = metric?.values.filter((value) =>
        Object.entries(labels).every(([label, wanted]) => String(value.labels[label]) === wanted),
      );
      return found?.reduce((sum, { value }) => sum + value, 0) ?? NaN;
    },
  };
}

export function image(
  number: number,
  fate: keyof typeof fates = 'caption',
  options: Partial<CaptionOptions> = {},
): CaptionItem {
  return {
    kind: 'caption',
    pixels: Uint8Array.of(fates[fate], number),
    options: {
      candidates: 1,
      beamSize: 3,
      maxLength: 20,
      concepts: [],
      conceptsMode: 'replace',
      avoidWords: [],
      genderNeutral: false,
      explain: false,
      ...options,
    },
  };
}

export function scoring(
  number: number,
  texts: readonly string[],
  fate: keyof typeof fates = 'caption',
): ScoreItem {
  return { kind: 'score', pixels: Uint8Array.of(fates[fate], number), texts };
}

export function reserve(
  engine: Engine,
  images = 1,
  options: { timeoutMs?: number; priority?: Priority; signal?: AbortSignal } = {},
): Reservation {
  return engine.reserve(images, {
    deadline: performance.now() + (options.timeoutMs ?? 60_000),
    priority: options.priority ?? 'single',
    signal: options.signal ?? new AbortController().signal,
  });
}

export interface Told {
  /** The number of the image whose caption it is. */
  readonly number: number;
  /** The process that wrote it. */
  readonly pid: number;
  readonly batchSize: number;
}

/** Captions one image and reads what the fake worker tells. */
export async function caption(engine: Engine, item: CaptionItem): Promise<Told> {
  const places = reserve(engine);
  try {
    return await told(places.submit(item));
  } finally {
    places.release();
  }
}

export async function told(submitted: ReturnType<Reservation['submit']>): Promise<Told> {
  const { outcome } = await submitted;
  const [number, , pid] = (outcome.candidates[0]?.text ?? '').split(' ').map(Number);
  return { number: number ?? NaN, pid: pid ?? NaN, batchSize: outcome.timing.encodeMs };
}
