import { ServiceError } from '../problem.js';
import { deferred } from './deferred.js';
import type { ReserveOptions } from './engine.js';

export type LeaveReason = 'deadline' | 'gone';

interface Flight<T> {
  readonly answer: Promise<T>;
  readonly isUrgent: boolean;
  /** Ends the run. */
  readonly controller: AbortController;
  readonly waiters: Set<symbol>;
}

/**
 * One run for all who ask for the same at the same time. The run belongs to nobody in particular: each waiter leaves
 * at its own deadline or when its client goes, and the run is given up when the last has left.
 */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();
  readonly #onLeft: (reason: LeaveReason) => void;

  /** @param onLeft a waiter left a run that goes on for others */
  constructor(onLeft: (reason: LeaveReason) => void) {
    this.#onLeft = onLeft;
  }

  /**
   * Waits for the run for this key, which is started when there is none. A single image does not join the run of a
   * batch upload, which waits behind all single images.
   * @param start begins the run; the signal is aborted, with what the last waiter was told, when nobody waits any more
   * @returns whether the run was started for this waiter, and its answer, which rejects as the run does; with
   *   ServiceError deadline_exceeded; or with Error when the client has gone
   */
  join(
    key: string,
    waiter: ReserveOptions,
    start: (signal: AbortSignal) => Promise<T>,
  ): { readonly isOwn: boolean; readonly answer: Promise<T> } {
    const isUrgent = waiter.priority === 'single';
    const known = this.#flights.get(key);
    const isOwn = known === undefined || (isUrgent && !known.isUrgent);
    const flight = isOwn ? this.#begin(key, isUrgent, start) : known;
    return { isOwn, answer: this.#wait(key, flight, waiter) };
  }

  #begin(key: string, isUrgent: boolean, start: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const answer = start(controller.signal);
    const flight = { answer, isUrgent, controller, waiters: new Set<symbol>() };
    this.#flights.set(key, flight);
    const forget = (): void => {
      this.#forget(key, flight);
    };
    answer.then(forget, forget);
    return flight;
  }

  async #wait(key: string, flight: Flight<T>, { deadline, signal }: ReserveOptions): Promise<T> {
    const place = Symbol();
    const left = deferred<never>();
    const leave = (reason: LeaveReason, error: Error): void => {
      left.reject(error);
      flight.waiters.delete(place);
      if (flight.waiters.size > 0) {
        this.#onLeft(reason);
        return;
      }
      // Whoever asks from now on finds no run, rather than one that is about to fail.
      this.#forget(key, flight);
      flight.controller.abort(error);
    };
    const timer = setTimeout(() => {
      leave('deadline', new ServiceError('deadline_exceeded', 'the time for this request is over'));
    }, deadline - performance.now());
    const onGone = (): void => {
      leave('gone', new Error('the client has gone', { cause: signal.reason }));
    };
    signal.addEventListener('abort', onGone);
    flight.waiters.add(place);
    try {
      return await Promise.race([flight.answer, left.promise]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onGone);
      flight.waiters.delete(place);
    }
  }

  #forget(key: string, flight: Flight<T>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }
}
