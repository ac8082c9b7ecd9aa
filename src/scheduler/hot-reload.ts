import type { Registry } from 'prom-client';
import type { BundleEngine, SharedParts } from './bundle-engine.js';
import { createEngineMetrics, type EngineMetrics } from './metrics.js';
import type { ServedModel } from './model.js';
import type { Readiness, Scheduler } from './scheduler.js';
import { type Permit, Slots } from './permit.js';
import type { EngineLogger } from './worker-process.js';
import { deferred } from '../promises.js';

export interface HotReloadOptions {
  /** Starts an engine for the bundle that is there now; throws what explains why there is none. */
  readonly start: (shared: SharedParts) => Promise<BundleEngine>;
  /** Images admitted at once. */
  readonly maxQueueImages: number;
  readonly logger: EngineLogger;
  readonly registry: Registry;
}

/** A scheduler whose bundle can be exchanged while it serves. */
export class ReloadableScheduler implements Scheduler {
  readonly #options: HotReloadOptions;
  readonly #slots: Slots;
  readonly #stopping = new AbortController();
  /** The engines that have work: the one that serves is the last, before it one that finishes. */
  readonly #engines: BundleEngine[] = [];
  #reloading: Promise<void> | undefined;
  #requestedReloads = 0;
  #draining: Promise<void> | undefined;

  readonly metrics: EngineMetrics;

  /** @throws what `start` throws */
  static async start(options: HotReloadOptions): Promise<ReloadableScheduler> {
    const scheduler = new ReloadableScheduler(options);
    scheduler.#engines.push(await scheduler.#start(undefined));
    return scheduler;
  }

  private constructor(options: HotReloadOptions) {
    this.#options = options;
    this.#slots = new Slots(options.maxQueueImages);
    const total = (figure: 'waiting' | 'workersReady'): number =>
      this.#engines.reduce((sum, engine) => sum + engine[figure], 0);
    this.metrics = createEngineMetrics(options.registry, {
      waiting: () => total('waiting'),
      slotsUsed: () => this.#slots.used,
      workersReady: () => total('workersReady'),
      model: () => this.#engines.at(-1),
    });
  }

  get model(): ServedModel {
    return this.#current;
  }

  get readiness(): Readiness {
    return this.#current.readiness;
  }

  /** Inference processes of the bundle that serves. */
  get processes(): number {
    return this.#current.processes;
  }

  /** The inference processes that there are, of a bundle that finishes too. */
  get pids(): number[] {
    return this.#engines.flatMap((engine) => engine.pids);
  }

  admit(slots: number): Permit {
    return this.#current.admit(slots);
  }

  /**
   * Loads the bundle again and lets it take over once it is warm; the old engine finishes what it has admitted. A
   * bundle that does not load changes nothing. One load runs at a time: reloads that are requested meanwhile are done
   * afterwards, once. Resolves when nothing is left to do and never rejects: the log and the metrics have the outcome.
   */
  async reload(): Promise<void> {
    if (this.#isStopping()) {
      this.#options.logger.info('the bundle is not loaded again: the service is shutting down');
      return;
    }
    this.#requestedReloads += 1;
    await (this.#reloading ??= this.#reloadUntilCurrent());
  }

  drain(): Promise<void> {
    return (this.#draining ??= this.#finish());
  }

  async #finish(): Promise<void> {
    this.#stopping.abort();
    await Promise.all([this.#reloading, ...this.#engines.map((engine) => engine.drain())]);
  }

  async #reloadUntilCurrent(): Promise<void> {
    let handled: number;
    do {
      handled = this.#requestedReloads;
      await this.#swap();
    } while (handled < this.#requestedReloads && !this.#isStopping());
    this.#reloading = undefined;
  }

  async #swap(): Promise<void> {
    const { logger } = this.#options;
    const old = this.#current;
    const left = deferred<undefined>();
    logger.info('loading the bundle again');
    let next: BundleEngine;
    try {
      next = await this.#start({ processes: old.processes, left: left.promise });
    } catch (error) {
      if (this.#isStopping()) return;
      const message = error instanceof Error ? error.message : String(error);
      this.metrics.modelReloaded('failed');
      logger.error(
        { model: nameOf(old) },
        `the bundle could not be loaded, the old one serves on: ${message}`,
      );
      return;
    }
    if (this.#isStopping()) {
      await next.drain();
      return;
    }
    this.#engines.push(next);
    this.metrics.modelReloaded('swapped');
    logger.info({ from: nameOf(old), to: nameOf(next) }, 'the new bundle serves');
    await old.retire();
    left.resolve(undefined);
    this.#engines.splice(this.#engines.indexOf(old), 1);
    logger.info({ model: nameOf(old) }, 'the old bundle has answered all it had admitted');
  }

  #start(predecessor: SharedParts['predecessor']): Promise<BundleEngine> {
    const { signal } = this.#stopping;
    return this.#options.start({ slots: this.#slots, metrics: this.metrics, signal, predecessor });
  }

  get #current(): BundleEngine {
    const engine = this.#engines.at(-1);
    if (engine === undefined) throw new Error('no engine was started');
    return engine;
  }

  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }
}

/** For the log: content and version may differ where the id does not. */
function nameOf({ bundle, provider, precision }: ServedModel): object {
  const { id, version, digest } = bundle;
  return { id, version, digest: digest.slice(0, 12), provider, precision };
}
