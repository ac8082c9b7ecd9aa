import type { Registry } from 'prom-client';
import { deferred } from './deferred.js';
import type { Engine, ServedModel } from './engine.js';
import { createEngineMetrics, type EngineLoad } from './metrics.js';
import { reservationOf } from './reservation.js';
import { ResultCache } from './result-cache.js';
import type { BundleEngine, SharedParts } from './start-engine.js';
import type { EngineLogger } from './worker-process.js';

export interface SwappableEngine extends Engine {
  /** Inference processes of the bundle that serves. */
  readonly processes: number;
  /**
   * Loads the bundle again and lets it take over once it is warm; what the old one has admitted, it finishes. A bundle
   * that does not load changes nothing. One load at a time: what is asked for meanwhile is done afterwards, once.
   * Resolves when nothing is left to do, and never rejects: the log and the metrics have the outcome.
   */
  reload(): Promise<void>;
}

export interface SwappableEngineParts {
  /** Starts an engine for the bundle that is there now; throws what explains why there is none. */
  readonly start: (shared: SharedParts) => Promise<BundleEngine>;
  /** Results kept; 0: every image is a run of the model. */
  readonly cacheSize: number;
  readonly logger: EngineLogger;
  readonly registry: Registry;
}

/** An engine whose bundle can be exchanged. Throws what `start` throws at the first time. */
export async function startSwappableEngine(parts: SwappableEngineParts): Promise<SwappableEngine> {
  const { cacheSize, logger, registry } = parts;
  /** The engines that have work: the one that serves, and before it the one that finishes. */
  const engines: BundleEngine[] = [];
  const stopping = new AbortController();
  const { signal } = stopping;
  let reloading: Promise<void> | undefined;
  /** Times a reload was asked for. */
  let asked = 0;
  let draining: Promise<void> | undefined;

  const total = (figure: keyof EngineLoad): number =>
    engines.reduce((sum, { load }) => sum + load[figure](), 0);
  const metrics = createEngineMetrics(registry, {
    waiting: () => total('waiting'),
    placesUsed: () => total('placesUsed'),
    workersReady: () => total('workersReady'),
    model: () => engines.at(-1),
  });
  const cache =
    cacheSize === 0
      ? undefined
      : new ResultCache(cacheSize, registry, (reason) => {
          metrics.lost(reason, 1);
        });

  function start(predecessor: SharedParts['predecessor']): Promise<BundleEngine> {
    return parts.start({ metrics, placesUsed: () => total('placesUsed'), signal, predecessor });
  }

  async function swap(): Promise<void> {
    const old = current();
    const left = deferred<undefined>();
    logger.info('loading the bundle again');
    let next: BundleEngine;
    try {
      next = await start({ processes: old.processes, left: left.promise });
    } catch (error) {
      if (isStopping()) return;
      const message = error instanceof Error ? error.message : String(error);
      metrics.modelReloaded('failed');
      logger.error(
        { model: nameOf(old) },
        `the bundle could not be loaded, the old one serves on: ${message}`,
      );
      return;
    }
    if (isStopping()) {
      await next.drain();
      return;
    }
    engines.push(next);
    metrics.modelReloaded('swapped');
    logger.info({ from: nameOf(old), to: nameOf(next) }, 'the new bundle serves');
    await old.retire();
    left.resolve(undefined);
    engines.splice(engines.indexOf(old), 1);
    logger.info({ model: nameOf(old) }, 'the old bundle has answered all it had admitted');
  }

  async function reloadUntilCurrent(): Promise<void> {
    let heard: number;
    do {
      heard = asked;
      await swap();
    } while (heard < asked && !isStopping());
    reloading = undefined;
  }

  async function finish(): Promise<void> {
    stopping.abort();
    await Promise.all([reloading, ...engines.map((engine) => engine.drain())]);
  }

  function isStopping(): boolean {
    return signal.aborted;
  }

  function current(): BundleEngine {
    const engine = engines.at(-1);
    if (engine === undefined) throw new Error('no engine was started');
    return engine;
  }

  engines.push(await start(undefined));
  return {
    get bundle() {
      return current().bundle;
    },
    get provider() {
      return current().provider;
    },
    get devices() {
      return current().devices;
    },
    get placement() {
      return current().placement;
    },
    get precision() {
      return current().precision;
    },
    get servingSince() {
      return current().servingSince;
    },
    get readiness() {
      return current().readiness;
    },
    get processes() {
      return current().processes;
    },
    reserve(images, options) {
      const places = current().reserve(images, options);
      return reservationOf(cache === undefined ? places : cache.over(places, options));
    },
    async reload() {
      if (isStopping()) {
        logger.info('the bundle is not loaded again: the service is shutting down');
        return;
      }
      asked += 1;
      await (reloading ??= reloadUntilCurrent());
    },
    drain: () => (draining ??= finish()),
  };
}

/** For the log: content and version may differ where the id does not. */
function nameOf({ bundle, provider, precision }: ServedModel): object {
  const { id, version, digest } = bundle;
  return { id, version, digest: digest.slice(0, 12), provider, precision };
}
