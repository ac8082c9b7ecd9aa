import type { ServedModel } from './model.js';
import type { Permit } from './permit.js';

export type Readiness = { readonly ready: true } | { readonly ready: false; readonly reason: string };

/** The model that serves now, and admission to it. */
export interface Scheduler {
  readonly model: ServedModel;
  readonly readiness: Readiness;
  /**
   * Admits a request before anything of it is read.
   *
   * @param slots one for each image, at least 1
   * @throws ServiceError queue_full | not_ready | draining
   */
  admit(slots: number): Permit;
  /** Admits nothing more, finishes what was admitted within the grace, then stops the processes. Idempotent. */
  drain(): Promise<void>;
}
