import { ServiceError } from '../problem.js';
import type { ItemAnswer, WorkItem } from '../runtime/messages.js';
import { deferred } from './deferred.js';
import type { Answered } from './engine.js';

/** One image handed in: answered once, by whichever comes first of a worker, its deadline and its client's leaving. */
export class Submission {
  readonly item: WorkItem;
  readonly #answer = deferred<Answered>();
  readonly #timer: NodeJS.Timeout | undefined;
  #isAnswered = false;

  /**
   * @param deadlineInMs milliseconds until the answer is worthless; Infinity when it never is
   * @param onDeadline called when it passes unanswered; answers with `fail`
   */
  constructor(item: WorkItem, deadlineInMs: number, onDeadline: () => void) {
    this.item = item;
    if (deadlineInMs < Infinity) this.#timer = setTimeout(onDeadline, deadlineInMs);
  }

  get promise(): Promise<Answered> {
    return this.#answer.promise;
  }

  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  /** A worker's answer; false when another answer came first. */
  settle(answer: ItemAnswer, queueMs: number): boolean {
    if (!this.#close()) return false;
    if (answer.ok) this.#answer.resolve({ outcome: answer.outcome, queueMs, cached: false });
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
