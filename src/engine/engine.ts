import type { BundleFacts } from '../runtime/bundle.js';
import type {
  CaptionItem,
  CaptionOutcome,
  Placement,
  ScoreItem,
  ScoreOutcome,
  WorkItem,
  WorkOutcome,
} from '../runtime/messages.js';

/** What answers: a bundle, as one execution provider runs it. */
export interface ServedModel {
  readonly bundle: BundleFacts;
  readonly provider: string;
  /** Device numbers of the provider, one process each; none on CPUs. */
  readonly devices: readonly number[];
  /** Where each graph runs: some are faster on the CPU than on the provider. */
  readonly placement: Placement;
  readonly precision: string;
  /** When it began to serve, in Unix milliseconds. */
  readonly servingSince: number;
}

/** `single`: somebody waits for this one image; `batch`: one of many, served when no single image waits. */
export type Priority = 'single' | 'batch';

export interface ReserveOptions {
  /** When the answer is worthless, in the milliseconds of `performance.now()`. */
  readonly deadline: number;
  readonly priority: Priority;
  /** Aborted when the client has gone: its entries are dropped and its places freed. */
  readonly signal: AbortSignal;
}

export interface Answered<Outcome = WorkOutcome> {
  readonly outcome: Outcome;
  /** How long the image waited for a worker, or for the answer that it shares, in milliseconds. */
  readonly queueMs: number;
  /** The outcome was made for another request, and the model's stages took no time for this one. */
  readonly cached: boolean;
}

/** Places in the queue, held from before anything is decoded. */
export interface Reservation {
  /** The model that will answer: what is handed in is made for its bundle, though another may serve by then. */
  readonly model: ServedModel;
  /**
   * Hands one image in; takes one of the places.
   * @throws ServiceError deadline_exceeded | draining | image_crashes_model | invalid_option | internal;
   *   queue_full when the client's own concepts cost more than the queue has left
   */
  submit(item: CaptionItem): Promise<Answered<CaptionOutcome>>;
  /** The same for an image and texts: places beyond its own are taken for many texts. */
  score(item: ScoreItem): Promise<Answered<ScoreOutcome>>;
  /** Frees the places not used. Idempotent. */
  release(): void;
}

/** A reservation as the parts of the engine see it: whatever is done with an image, it takes a place. */
export interface WorkReservation {
  readonly model: ServedModel;
  /** Hands one image in, as `submit` and `score` do. */
  handIn(item: WorkItem): Promise<Answered>;
  release(): void;
}

/** A reservation whose places can be handed on. */
export interface HeldReservation extends WorkReservation {
  /**
   * Moves one unused place to a reservation of its own, which this one's signal and deadline do not end.
   * @throws ServiceError draining
   */
  detach(options: ReserveOptions): HeldReservation;
}

export type Readiness = { readonly ready: true } | { readonly ready: false; readonly reason: string };

/** The model that serves now, and the way in. */
export interface Engine extends ServedModel {
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
