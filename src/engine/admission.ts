import { ServiceError } from '../problem.js';
import type { WorkItem } from '../runtime/messages.js';
import type { BatchQueue, Entry } from './batch-queue.js';
import { type ConceptCost, textCost } from './concept-cost.js';
import type { Answered, HeldReservation, ReserveOptions, ServedModel } from './engine.js';
import type { EngineMetrics, LossReason } from './metrics.js';
import { Submission } from './submission.js';

export interface AdmissionOptions {
  /** What answers the images admitted here. */
  readonly model: ServedModel;
  readonly queue: BatchQueue<Submission>;
  /** All places of the queue. */
  readonly places: number;
  readonly conceptCost: ConceptCost;
  readonly groupKeyOf: (item: WorkItem) => string;
  readonly metrics: EngineMetrics;
  /** Why nothing is admitted; undefined when it is. */
  readonly refusal: () => 'not_ready' | 'draining' | undefined;
  readonly retryAfterSeconds: () => number;
  /** An entry waits. */
  readonly onWaiting: () => void;
  /** An entry was answered while a worker had it. */
  readonly onAnsweredEarly: (entry: Entry<Submission>) => void;
  /** Places became free. */
  readonly onFreed: () => void;
}

const refusalDetails = {
  queue_full: 'all places of the queue are taken',
  not_ready: 'no inference process is ready',
  draining: 'the service is shutting down and takes nothing new',
};

/** Says yes or no to a request before anything is decoded, and keeps its places for it. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #held = new Set<HeldPlaces>();

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** See Engine.reserve. */
  reserve(images: number, options: ReserveOptions): HeldReservation {
    const refusal = this.#options.refusal();
    if (refusal !== undefined) throw this.#refuse(refusal, images);
    if (!this.#options.queue.reserve(images)) throw this.#refuse('queue_full', images);
    return new HeldPlaces(this.#options, images, options, {
      held: this.#held,
      refuse: (reason, count) => this.#refuse(reason, count),
    });
  }

  /** Ends everything admitted with `draining`. */
  failAll(): void {
    for (const places of this.#held) places.fail();
  }

  #refuse(reason: Refusal, images: number): ServiceError {
    this.#options.metrics.lost(reason, images);
    return new ServiceError(reason, refusalDetails[reason], this.#options.retryAfterSeconds());
  }
}

type Refusal = keyof typeof refusalDetails;

/** What held places need of the admission that granted them. */
interface Desk {
  readonly held: Set<HeldPlaces>;
  readonly refuse: (reason: Refusal, images: number) => ServiceError;
}

class HeldPlaces implements HeldReservation {
  readonly #admission: AdmissionOptions;
  readonly #options: ReserveOptions;
  readonly #desk: Desk;
  /** Images handed in and not answered. */
  readonly #open = new Map<Submission, Entry<Submission>>();
  #unused: number;
  #isFailed = false;

  constructor(admission: AdmissionOptions, places: number, options: ReserveOptions, desk: Desk) {
    this.#admission = admission;
    this.#unused = places;
    this.#options = options;
    this.#desk = desk;
    desk.held.add(this);
    // One listener for all images of a request; it goes with the last of them.
    options.signal.addEventListener('abort', this.#onGone);
    if (options.signal.aborted) this.#onGone();
  }

  get model(): ServedModel {
    return this.#admission.model;
  }

  async handIn(item: WorkItem): Promise<Answered> {
    const { queue, places, conceptCost, groupKeyOf, onWaiting } = this.#admission;
    const { deadline, priority, signal } = this.#options;
    signal.throwIfAborted();
    this.#usePlace();
    const texts =
      item.kind === 'caption' ? conceptCost.of(item.options.concepts) : textCost(item.texts.length);
    // However many texts a client brings, an empty queue takes them.
    const cost = Math.min(1 + texts, places);
    if (!queue.reserve(cost - 1)) {
      this.#free(1);
      throw this.#desk.refuse('queue_full', 1);
    }
    const submission = new Submission(item, deadline - performance.now(), () => {
      this.#drop(
        submission,
        'deadline',
        new ServiceError('deadline_exceeded', 'the time for this request is over'),
      );
    });
    const facts = {
      groupKey: groupKeyOf(item),
      cost,
      priority,
      deadline,
      isGone: () => submission.isAnswered,
    };
    this.#open.set(submission, queue.add(submission, facts));
    onWaiting();
    try {
      return await submission.promise;
    } finally {
      this.#open.delete(submission);
      this.#forgetWhenOver();
    }
  }

  detach(options: ReserveOptions): HeldPlaces {
    this.#usePlace();
    this.#forgetWhenOver();
    return new HeldPlaces(this.#admission, 1, options, this.#desk);
  }

  release(): void {
    const unused = this.#unused;
    this.#unused = 0;
    this.#free(unused);
    this.#forgetWhenOver();
  }

  /** The service stops before these images are answered. */
  fail(): void {
    this.#isFailed = true;
    this.release();
    for (const submission of this.#open.keys()) {
      this.#drop(submission, 'draining', new ServiceError('draining', refusalDetails.draining));
    }
  }

  readonly #onGone = (): void => {
    this.release();
    const reason: unknown = this.#options.signal.reason;
    const error = new Error('the client has gone', { cause: reason });
    for (const submission of this.#open.keys()) this.#drop(submission, lossAt(reason), error);
  };

  #usePlace(): void {
    if (this.#isFailed) throw this.#desk.refuse('draining', 1);
    if (this.#unused === 0) throw new Error('more images were handed in than places were reserved');
    this.#unused -= 1;
  }

  /** Answers before a worker does. What has not begun leaves; what runs keeps its place until it has run. */
  #drop(submission: Submission, reason: LossReason, error: Error): void {
    if (!submission.fail(error)) return;
    this.#admission.metrics.lost(reason, 1);
    const entry = this.#open.get(submission);
    if (entry === undefined) return;
    if (this.#admission.queue.remove(entry)) this.#admission.onFreed();
    else this.#admission.onAnsweredEarly(entry);
  }

  #free(places: number): void {
    if (places === 0) return;
    this.#admission.queue.free(places);
    this.#admission.onFreed();
  }

  #forgetWhenOver(): void {
    if (this.#unused === 0 && this.#open.size === 0) {
      this.#desk.held.delete(this);
      this.#options.signal.removeEventListener('abort', this.#onGone);
    }
  }
}

/** What an abort with this reason is counted as: a client is sent away at its deadline, or goes by itself. */
function lossAt(reason: unknown): 'deadline' | 'gone' {
  return reason instanceof ServiceError && reason.code === 'deadline_exceeded' ? 'deadline' : 'gone';
}
