import type { Model } from './model.js';
import { ServiceError } from '../errors.js';
import type { EngineMetrics } from './metrics.js';

/** Slots for images that the service works on, shared by all bundles that have work. */
export class Slots {
  #used = 0;

  /** @param max slots in use at once */
  constructor(readonly max: number) {}

  get used(): number {
    return this.#used;
  }

  hasFree(slots: number): boolean {
    return this.#used + slots <= this.max;
  }

  /** Takes all of the slots or none. */
  tryTake(slots: number): boolean {
    if (!this.hasFree(slots)) return false;
    this.#used += slots;
    return true;
  }

  /** Takes slots beyond the limit, for work that nobody waits for and that cannot be stopped. */
  take(slots: number): void {
    this.#used += slots;
  }

  free(slots: number): void {
    this.#used -= slots;
  }
}

/** Where a permit takes slots and gives them back: the engine that granted it. */
export interface SlotSource {
  /** Takes slots for a new request. @throws ServiceError queue_full | not_ready | draining */
  admitSlots(slots: number): void;
  /**
   * Takes more slots for a request that was admitted: it is finished though nothing is admitted any more.
   *
   * @param images that are turned away when there are not so many
   * @throws ServiceError queue_full
   */
  takeSlots(slots: number, images: number): void;
  /** Throws what `takeSlots` would throw now, and takes none. */
  requireSlots(slots: number, images: number): void;
  freeSlots(slots: number): void;
}

/**
 * Permission to work on images, from admission to the last answer. It names the model that answers, so that a bundle
 * that is swapped meanwhile changes nothing for the request. Whoever holds a permit releases it once.
 */
export class Permit {
  readonly #source: SlotSource;
  #slots: number;

  /** Takes the slots. @throws ServiceError queue_full | not_ready | draining */
  static take(source: SlotSource, model: Model, slots: number): Permit {
    source.admitSlots(slots);
    return new Permit(source, model, slots);
  }

  private constructor(
    source: SlotSource,
    readonly model: Model,
    slots: number,
  ) {
    this.#source = source;
    this.#slots = slots;
  }

  get slots(): number {
    return this.#slots;
  }

  /**
   * Turns images away that could not all be split for now, so that a client need not send the rest of them.
   *
   * @throws ServiceError queue_full
   */
  requireRoomFor(images: number): void {
    this.#source.requireSlots(images - this.#slots, images);
  }

  /**
   * Exchanges this permit for one permit of one slot for each image. When there are not enough slots, this permit stays
   * as it is.
   *
   * @throws ServiceError queue_full; Error when the permit was released or exchanged before: the request may have ended
   *   meanwhile, and nobody would release the new permits
   */
  split(images: number): Permit[] {
    if (this.#slots === 0) throw new Error('a permit that was released cannot be split');
    const missing = images - this.#slots;
    if (missing > 0) this.#source.takeSlots(missing, images);
    else this.#source.freeSlots(-missing);
    this.#slots = 0;
    return Array.from({ length: images }, () => new Permit(this.#source, this.model, 1));
  }

  /** Idempotent. */
  release(): void {
    const slots = this.#slots;
    this.#slots = 0;
    if (slots > 0) this.#source.freeSlots(slots);
  }
}

const refusalDetails = {
  queue_full: 'all slots of the queue are taken',
  not_ready: 'no inference process is ready',
  draining: 'the service is shutting down and takes nothing new',
};
export type Refusal = keyof typeof refusalDetails;

export interface AdmissionOptions {
  readonly slots: Slots;
  readonly metrics: EngineMetrics;
  /** Why nothing is admitted; undefined while images are. */
  readonly refusal: () => 'not_ready' | 'draining' | undefined;
  /** The value of `Retry-After` now. */
  readonly retryAfterSeconds: () => number;
  readonly onFreed: () => void;
}

/** The slots of one engine: those of its permits, and those of its work. */
export class Admission implements SlotSource {
  readonly #options: AdmissionOptions;
  #used = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Slots of this engine, a part of those that all engines use. */
  get used(): number {
    return this.#used;
  }

  admitSlots(slots: number): void {
    const refusal = this.#options.refusal();
    if (refusal !== undefined) throw this.refuse(refusal, slots);
    this.takeSlots(slots, slots);
  }

  takeSlots(slots: number, images: number): void {
    if (!this.tryTake(slots)) throw this.refuse('queue_full', images);
  }

  requireSlots(slots: number, images: number): void {
    if (!this.#options.slots.hasFree(slots)) throw this.refuse('queue_full', images);
  }

  /** Takes slots for the work of an image that was admitted before; false when there are not so many. */
  tryTake(slots: number): boolean {
    if (!this.#options.slots.tryTake(slots)) return false;
    this.#used += slots;
    return true;
  }

  /** Takes slots beyond the limit, for work that cannot be stopped. */
  take(slots: number): void {
    this.#options.slots.take(slots);
    this.#used += slots;
  }

  freeSlots(slots: number): void {
    this.#options.slots.free(slots);
    this.#used -= slots;
    this.#options.onFreed();
  }

  /** Counts images that are refused, and returns the error that says so. */
  refuse(reason: Refusal, images: number): ServiceError {
    this.#options.metrics.dropped(reason, images);
    return new ServiceError(reason, refusalDetails[reason], this.#options.retryAfterSeconds());
  }
}

/** Weight of the newest batch in the running mean: about the last ten batches count. */
const newestWeight = 0.2;
const minSeconds = 1;
/** Nobody should wait longer before trying again than a queue can be deep. */
const maxSeconds = 60;

/** How fast one worker empties the queue, measured on the batches it ran. */
export class DrainRate {
  #perSecond: number;

  /**
   * @param images of a first measured run, the warm-up
   * @param elapsedMs that it took
   */
  constructor(images: number, elapsedMs: number) {
    this.#perSecond = rate(images, elapsedMs);
  }

  /** @param cost of a batch, in images */
  record(cost: number, elapsedMs: number): void {
    this.#perSecond += newestWeight * (rate(cost, elapsedMs) - this.#perSecond);
  }

  /** Whole seconds until so many slots are worked off by so many workers: the value of `Retry-After`. */
  retryAfterSeconds(slots: number, workers: number): number {
    const seconds = Math.ceil(slots / (this.#perSecond * Math.max(1, workers)));
    return Math.min(Math.max(seconds, minSeconds), maxSeconds);
  }
}

function rate(images: number, elapsedMs: number): number {
  return (images / Math.max(elapsedMs, 0.001)) * 1000;
}
