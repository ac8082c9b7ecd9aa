import assert from 'node:assert/strict';
import { EventEmitter, on, setMaxListeners } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Registry } from 'prom-client';
import type { RequestContext } from '../../src/captioner/captioner.js';
import { type ErrorCode, ServiceError } from '../../src/errors.js';
import type {
  CaptionItem,
  CaptionOutcome,
  LoadCommand,
  ModelOptions,
  ScoreItem,
  ScoreOutcome,
  WorkItem,
} from '../../src/inference/messages.js';
import { BundleEngine, type SharedParts, ConceptCost } from '../../src/scheduler/bundle-engine.js';
import { ReloadableScheduler } from '../../src/scheduler/hot-reload.js';
import type { Answered, Model, Priority } from '../../src/scheduler/model.js';
import type { Scheduler } from '../../src/scheduler/scheduler.js';
import type { EngineLogger } from '../../src/scheduler/worker-process.js';
import { exampleFacts } from '../inference/example-bundle.js';
import { fates, type StartFate } from './fates.js';
import { ClientDisconnected, deadlineExceeded } from '../../src/promises.js';

export interface TestEngine {
  readonly scheduler: ReloadableScheduler;
  readonly registry: Registry;
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
  readonly hasLowLatencyWorker?: boolean;
  readonly start?: StartFate;
  readonly maxBatchSize?: number;
  readonly batchDelayMs?: number;
  readonly maxQueueImages?: number;
  readonly shutdownGraceMs?: number;
  readonly hangTimeoutMs?: number;
  readonly startTimeoutMs?: number;
  readonly workersInMemory?: number;
}

/** A scheduler over fake workers; drained when the test is over. */
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

  const command: LoadCommand = {
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
    BundleEngine.start({
      maxBatchSize: options.maxBatchSize ?? 8,
      batchDelayMs: options.batchDelayMs ?? 0,
      shutdownGraceMs: options.shutdownGraceMs ?? 30_000,
      bundle: { ...exampleFacts, id: bundleId, digest: `digest of ${bundleId}` },
      provider: 'cpu',
      precision: 'w8',
      loadCommands: Array.from({ length: options.workers ?? 1 }, () => command),
      lowLatencyCommand: options.hasLowLatencyWorker === true ? command : undefined,
      maxFirstWorkers: (options.workersInMemory ?? Infinity) - (shared.predecessor?.processes ?? 0),
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
  const scheduler = await ReloadableScheduler.start({
    start,
    maxQueueImages: options.maxQueueImages ?? 256,
    logger,
    registry,
  });
  t.after(() => scheduler.drain());
  return {
    scheduler,
    registry,
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
  options: Partial<ModelOptions> = {},
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
      minTagProbability: 0.5,
      maxTags: 20,
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

export interface AdmitOptions {
  readonly timeoutMs?: number;
  readonly priority?: Priority;
  /** Aborted when the client closes the connection. */
  readonly signal?: AbortSignal;
}

/** A request that was admitted, with a permit for each of its images. */
export interface AdmittedImages {
  readonly model: Model;
  /** One for each image. Whoever takes one releases its permit. */
  readonly contexts: readonly RequestContext[];
  /** Runs an image with the next permit, and releases that when it is answered. */
  run(item: CaptionItem): Promise<Answered<CaptionOutcome>>;
  run(item: ScoreItem): Promise<Answered<ScoreOutcome>>;
  /** Releases the permits that no image runs with. */
  release(): void;
}

/** Admits a request as the HTTP server does: its permits are released at its deadline, or when its client has gone. */
export function admit(
  scheduler: Pick<Scheduler, 'admit'>,
  images = 1,
  { timeoutMs = 60_000, priority = 'single', signal: client }: AdmitOptions = {},
): AdmittedImages {
  const startedAt = performance.now();
  const controller = new AbortController();
  const { signal } = controller;
  setMaxListeners(0, signal);
  const permits = scheduler.admit(images).split(images);
  const { model } = firstOf(permits);
  const contexts = permits.map((permit) => ({ permit, priority, signal, startedAt, client: 'somebody' }));
  const end = (): void => {
    clearTimeout(timer);
    for (const permit of permits) permit.release();
  };
  const endAtDeadline = (): void => {
    controller.abort(deadlineExceeded());
    end();
  };
  const timer = setTimeout(endAtDeadline, timeoutMs).unref();
  if (timeoutMs <= 0) endAtDeadline();
  client?.addEventListener('abort', () => {
    end();
    controller.abort(new ClientDisconnected());
  });

  const unused = contexts.values();
  function run(item: CaptionItem): Promise<Answered<CaptionOutcome>>;
  function run(item: ScoreItem): Promise<Answered<ScoreOutcome>>;
  async function run(item: WorkItem): Promise<Answered> {
    const { value: context } = unused.next();
    if (context === undefined) throw new Error('every permit is used');
    try {
      return await model.run(item, context);
    } finally {
      context.permit.release();
    }
  }
  return {
    model,
    contexts,
    run,
    release: () => {
      for (const { permit } of unused) permit.release();
    },
  };
}

/** The context of a request for one image. */
export function contextOf(scheduler: Pick<Scheduler, 'admit'>, options?: AdmitOptions): RequestContext {
  return firstOf(admit(scheduler, 1, options).contexts);
}

function firstOf<T>([first]: readonly T[]): T {
  if (first === undefined) throw new Error('a list is empty');
  return first;
}

export interface Told {
  /** The number of the image whose caption it is. */
  readonly number: number;
  /** The process that wrote it. */
  readonly pid: number;
  readonly batchSize: number;
}

/** Captions one image and reads what the fake worker tells. */
export async function caption(scheduler: Pick<Scheduler, 'admit'>, item: CaptionItem): Promise<Told> {
  return told(admit(scheduler).run(item));
}

export async function told(answered: Promise<Answered<CaptionOutcome>>): Promise<Told> {
  const { outcome } = await answered;
  const [number, , pid] = (outcome.candidates[0]?.text ?? '').split(' ').map(Number);
  return { number: number ?? NaN, pid: pid ?? NaN, batchSize: outcome.timing.encodeMs };
}

export function fails(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  return assert.rejects(promise, (error) => error instanceof ServiceError && error.code === code);
}

export function refuses(call: () => unknown, code: ErrorCode): void {
  assert.throws(call, (error) => error instanceof ServiceError && error.code === code);
}
