import { ServiceError } from '../problem.js';
import type { ItemAnswer, WorkItem, WorkOutcome } from '../runtime/messages.js';
import { deferred } from './deferred.js';

export interface Done {
  readonly outcome: WorkOutcome;
  readonly queueMs: number;
}

/** One image handed in: answered once, by whichever comes first of a worker, its deadline and its client's leaving. */
export class Submission {
  readonly item: WorkItem;
  readonly #answer = deferred<Done>();
  readonly #timer: NodeJS.Timeout;
  #isAnswered = false;

  /**
   * @param deadlineInMs milliseconds until the answer is worthless
   * @param onDeadline called when it passes unanswered; answers with `fail`
   */
  constructor(item: WorkItem, deadlineInMs: number, onDeadline: () => void) {
    this.item = item;
    this.#timer = setTimeout(onDeadline, deadlineInMs);
  }

  get promise(): Promise<Done> {
    return this.#answer.promise;
  }

  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  /** A worker's answer; false when another answer came first. */
  settle(answer: ItemAnswer, queueMs: number): boolean {
    if (!this.#close()) return false;
    if (answer.ok) this.#answer.resolve({ outcome: answer.outcome, queueMs });
    else if (answer.code === 'invalid_option')
      this.#answer.reject(new ServiceError(answer.code, answer.message));
    else this.#answer.reject(new ServiceError('internal', 'the model gave no answer for this image'));
    return true;
  }

  /** Any other end; false when an answer came first. */
  fail(error: Error): boolean {
    if (!this.#close()) return false;
    this.#answer.reject(error);
    return true;
  }

  #close(): boolean {
    if (this.#isAnswered) return false;
    this.#isAnswered = true;
    clearTimeout(this.#timer);
    return true;
  }
}
