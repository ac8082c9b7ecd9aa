import { LRUCache } from 'lru-cache';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { RunRequest } from './model.js';
import { setMaxListeners } from 'node:events';
import { abortable, abortError } from '../promises.js';

export interface ResultCacheOptions<Result> {
  /** Results that are kept; the size of each is what `sizeOf` says. */
  readonly maxSize: number;
  /** How many results of the usual size this one takes the memory of, at least 1. */
  readonly sizeOf: (result: Result) => number;
  /** Called when a client leaves a run that goes on for others. */
  readonly onLeave: (signal: AbortSignal) => void;
  readonly registry: Registry;
}

export interface FindRequest extends RunRequest {
  /** Requests of one scope share a run. Results that are kept are for all. */
  readonly scope: string;
}

/** A result, and whether it was made for another request. */
export interface Found<Result> {
  readonly result: Result;
  readonly cached: boolean;
  /** Milliseconds waited for the run of another request; 0 for a result that was kept, and for a run of one's own. */
  readonly waitedMs: number;
}

/**
 * Answers identical requests by one run: later ones from the results that are kept, the least recently used of which
 * goes first, and those that come during the run together with it.
 */
export class ResultCache<Result extends object> {
  readonly #results: LRUCache<string, Result>;
  readonly #flights: SingleFlight<Result>;
  readonly #requests: Counter<'result'>;

  constructor({ maxSize, sizeOf, onLeave, registry }: ResultCacheOptions<Result>) {
    const results = new LRUCache<string, Result>({ maxSize, sizeCalculation: sizeOf });
    this.#results = results;
    this.#flights = new SingleFlight(onLeave);
    const registers = [registry];
    this.#requests = new Counter({
      name: 'pcm_caption_cache_requests_total',
      help: 'Images by how the result cache answered: hit, coalesced with a run in flight, or miss',
      labelNames: ['result'],
      registers,
    });
    for (const result of ['hit', 'coalesced', 'miss']) this.#requests.inc({ result }, 0);
    new Gauge({
      name: 'pcm_caption_cache_results',
      help: 'Results kept in the result cache',
      registers,
      collect() {
        this.set(results.size);
      },
    });
  }

  /**
   * @param key equal for requests that get the same answer; made by a cryptographic hash, as nobody may be able to make
   *   two images that get each other's caption
   * @param run makes the result; its signal is aborted when nobody waits for it any more
   * @throws what the run throws, and the reason of the request's signal
   */
  async find(
    key: string,
    { scope, ...request }: FindRequest,
    run: (signal: AbortSignal) => Promise<Result>,
  ): Promise<Found<Result>> {
    const kept = this.#results.get(key);
    if (kept !== undefined) {
      this.#requests.inc({ result: 'hit' });
      return { result: kept, cached: true, waitedMs: 0 };
    }
    const askedAt = performance.now();
    const { isOwn, answer } = this.#flights.join(`${scope} ${key}`, request, async (signal) => {
      const result = await run(signal);
      this.#results.set(key, result);
      return result;
    });
    this.#requests.inc({ result: isOwn ? 'miss' : 'coalesced' });
    const result = await answer;
    return { result, cached: !isOwn, waitedMs: isOwn ? 0 : performance.now() - askedAt };
  }
}

interface Flight<T> {
  readonly answer: Promise<T>;
  readonly isUrgent: boolean;
  /** Ends the run. */
  readonly controller: AbortController;
  waiters: number;
}

/**
 * One run for all requests for the same result at the same time. The run belongs to no request in particular: each
 * request leaves when its signal is aborted, and the run is given up when the last one has left.
 */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();
  readonly #onLeave: (signal: AbortSignal) => void;

  /** @param onLeave called when a request leaves a run that goes on for others, with its aborted signal */
  constructor(onLeave: (signal: AbortSignal) => void) {
    this.#onLeave = onLeave;
  }

  /**
   * Waits for the run of this key, which is started when there is none. A single image does not join the run of a
   * batch upload, which waits behind all single images.
   *
   * @param start begins the run; its signal is aborted, with the reason of the last request's signal, when nobody waits
   *   any more
   * @returns whether the run was started for this request, and its answer, which rejects as the run does or with the
   *   reason of the request's signal
   */
  join(
    key: string,
    { priority, signal }: RunRequest,
    start: (signal: AbortSignal) => Promise<T>,
  ): { readonly isOwn: boolean; readonly answer: Promise<T> } {
    const isUrgent = priority === 'single';
    const known = this.#flights.get(key);
    const isOwn = known === undefined || (isUrgent && !known.isUrgent);
    const flight = isOwn ? this.#begin(key, isUrgent, start) : known;
    return { isOwn, answer: this.#wait(key, flight, signal) };
  }

  #begin(key: string, isUrgent: boolean, start: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    setMaxListeners(0, controller.signal);
    const answer = start(controller.signal);
    const flight = { answer, isUrgent, controller, waiters: 0 };
    this.#flights.set(key, flight);
    const forget = (): void => {
      this.#forget(key, flight);
    };
    answer.then(forget, forget);
    return flight;
  }

  async #wait(key: string, flight: Flight<T>, signal: AbortSignal): Promise<T> {
    flight.waiters += 1;
    const leave = (): void => {
      flight.waiters -= 1;
      if (flight.waiters > 0) {
        this.#onLeave(signal);
        return;
      }
      // A request that comes from now on finds no run, rather than one that is about to fail.
      this.#forget(key, flight);
      flight.controller.abort(abortError(signal));
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    try {
      return await abortable(flight.answer, signal);
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  #forget(key: string, flight: Flight<T>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }
}
