import type { BundleFacts } from '../runtime/bundle.js';
import type { CaptionItem, CaptionOutcome, Placement, ScoreItem, ScoreOutcome } from '../runtime/messages.js';

/** `single`: somebody waits for this one image; `batch`: one of many, served when no single image waits. */
export type Priority = 'single' | 'batch';

export interface ReserveOptions {
  /** When the answer is worthless, in the milliseconds of `performance.now()`. */
  readonly deadline: number;
  readonly priority: Priority;
  /** Aborted when the client has gone: its entries are dropped and its places freed. */
  readonly signal: AbortSignal;
}

/** Places in the queue, held from before anything is decoded. */
export interface Reservation {
  /**
   * Hands one image in; takes one of the places.
   * @returns the outcome, and how long the image waited for a worker in milliseconds
   * @throws ServiceError deadline_exceeded | draining | image_crashes_model | invalid_option | internal;
   *   queue_full when the client's own concepts cost more than the queue has left
   */
  submit(item: CaptionItem): Promise<{ outcome: CaptionOutcome; queueMs: number }>;
  /** The same for an image and texts: places beyond its own are taken for many texts. */
  score(item: ScoreItem): Promise<{ outcome: ScoreOutcome; queueMs: number }>;
  /** Frees the places not used. Idempotent. */
  release(): void;
}

export type Readiness = { readonly ready: true } | { readonly ready: false; readonly reason: string };

export interface Engine {
  /** Facts of the serving bundle. */
  readonly bundle: BundleFacts;
  readonly provider: string;
  /** Device numbers of the provider, one process each; none on CPUs. */
  readonly devices: readonly number[];
  /** Where each graph runs: some are faster on the CPU than on the provider. */
  readonly placement: Placement;
  readonly precision: string;
  readonly readiness: Readiness;
  /**
   * Admission, before anything is decoded.
   * @param images places wanted, at least 1
   * @throws ServiceError queue_full | not_ready | draining
   */
  reserve(images: number, options: ReserveOptions): Reservation;
  /** Admits nothing more, finishes what is in flight within a bound, then stops the workers. Idempotent. */
  drain(): Promise<void>;
}
