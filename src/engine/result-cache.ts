import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { CaptionOptions, WorkItem, WorkOutcome } from '../runtime/messages.js';
import type { Answered, HeldReservation, ReserveOptions, ServedModel, WorkReservation } from './engine.js';
import { type LeaveReason, SingleFlight } from './single-flight.js';

/** Bytes of memory, measured, that a result takes: without its parts, for each text, for each patch explained. */
const bytesOf = { result: 900, text: 240, patch: 26 };
/** What one of the results takes at most that `CACHE_SIZE` counts; those that take more count for several. */
const bytesOfOne = 2000;
/** What the stages of the model take where it does not run. */
const noStages = { encodeMs: 0, mixupMs: 0, captionMs: 0, scoreMs: 0 };

/**
 * Answers images that are pixel for pixel the same, with the same options and model, by one run: later ones from the
 * results kept, least recently used first to go, and those that come during the run with it.
 */
export class ResultCache {
  readonly #results: LRUCache<string, WorkOutcome>;
  readonly #flights: SingleFlight<Answered>;
  readonly #asked: Counter<'result'>;

  /**
   * @param size results that are kept, of 2 kB at most; one of many candidates, or explained, counts for several
   * @param registry takes the cache's metrics
   * @param onLeft a client left a run that goes on for others, which the engine below does not see
   */
  constructor(size: number, registry: Registry, onLeft: (reason: LeaveReason) => void) {
    const results = new LRUCache<string, WorkOutcome>({ maxSize: size, sizeCalculation: sizeOf });
    this.#results = results;
    const registers = [registry];
    this.#asked = new Counter({
      name: 'pcm_caption_cache_requests_total',
      help: 'Images by how the cache answered: hit, coalesced with a run in flight, or miss',
      labelNames: ['result'],
      registers,
    });
    for (const result of ['hit', 'coalesced', 'miss']) this.#asked.inc({ result }, 0);
    new Gauge({
      name: 'pcm_caption_cache_results',
      help: 'Results kept in the cache',
      registers,
      collect() {
        this.set(results.size);
      },
    });
    this.#flights = new SingleFlight(onLeft);
  }

  /**
   * The same places, with the cache before them. An image has its place for as long as it waits, whoever answers it:
   * places bound the memory of requests, not the work of the model alone.
   */
  over(places: HeldReservation, options: ReserveOptions): WorkReservation {
    // Each image of an upload listens, and Node takes more than ten listeners for a leak.
    setMaxListeners(0, options.signal);
    return {
      model: places.model,
      handIn: (item) => this.#handIn(item, places, options),
      release: () => {
        places.release();
      },
    };
  }

  async #handIn(item: WorkItem, places: HeldReservation, options: ReserveOptions): Promise<Answered> {
    options.signal.throwIfAborted();
    const place = places.detach(options);
    try {
      return await this.#answer(item, place, options);
    } finally {
      place.release();
    }
  }

  async #answer(item: WorkItem, place: HeldReservation, options: ReserveOptions): Promise<Answered> {
    const key = resultKey(place.model, item);
    const kept = this.#results.get(key);
    if (kept !== undefined) {
      this.#asked.inc({ result: 'hit' });
      return { outcome: kept, queueMs: 0, cached: true };
    }
    const askedAt = performance.now();
    const { isOwn, answer } = this.#flights.join(key, options, (signal) =>
      this.#run(key, item, place, { ...options, signal }),
    );
    this.#asked.inc({ result: isOwn ? 'miss' : 'coalesced' });
    if (isOwn) return answer;
    const { outcome } = await answer;
    return { outcome: withoutStages(outcome), queueMs: performance.now() - askedAt, cached: true };
  }

  /** The run has a place and a life of its own, as whoever began it may leave before those who joined. */
  async #run(
    key: string,
    item: WorkItem,
    place: HeldReservation,
    options: ReserveOptions,
  ): Promise<Answered> {
    const own = place.detach({ ...options, deadline: Infinity });
    try {
      const answer = await own.handIn(item);
      this.#results.set(key, withoutStages(answer.outcome));
      return answer;
    } finally {
      own.release();
    }
  }
}

/**
 * Equal where the same model is asked the same of the same pixels. A cryptographic hash, as nobody may be able to make
 * two images that get each other's caption.
 */
export function resultKey(model: ServedModel, { pixels, ...asked }: WorkItem): string {
  const { bundle, provider, placement, precision } = model;
  const meaning = 'options' in asked ? { ...asked, options: canonical(asked.options) } : asked;
  return createHash('sha256')
    .update(JSON.stringify([bundle.digest, provider, placement, precision, meaning]))
    .update(pixels)
    .digest('base64');
}

/** Equal for options that mean the same, each with its members in one order. */
function canonical({ concepts, conceptsMode, avoidWords, ...options }: CaptionOptions): CaptionOptions {
  return {
    ...options,
    concepts,
    conceptsMode: concepts.length === 0 ? 'replace' : conceptsMode,
    avoidWords: [...new Set(avoidWords.map((word) => word.trim().toLowerCase()))].sort(),
  };
}

function withoutStages(outcome: WorkOutcome): WorkOutcome {
  return { ...outcome, timing: noStages };
}

function sizeOf(outcome: WorkOutcome): number {
  const isCaption = 'candidates' in outcome;
  const texts = isCaption ? outcome.candidates : outcome.scores;
  const patches = isCaption ? outcome.concepts.flatMap((concept) => concept.patches ?? []) : [];
  const bytes = bytesOf.result + texts.length * bytesOf.text + patches.length * bytesOf.patch;
  return Math.ceil(bytes / bytesOfOne);
}
