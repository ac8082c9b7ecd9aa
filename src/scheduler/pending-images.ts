import { ServiceError } from '../errors.js';
import type { ItemAnswer, WorkItem } from '../inference/messages.js';
import { BatchQueue, type BatchQueueOptions, type Entry, costlyFrom } from './batch-queue.js';
import { type DropReason, dropReasonOf, type EngineMetrics } from './metrics.js';
import type { Answered, RunRequest } from './model.js';
import type { Job } from './worker-pool.js';
import type { EngineLogger } from './worker-process.js';
import { abortError, deferred } from '../promises.js';
import type { DrainRate } from './permit.js';

/** Slots that images hold beside those of their requests' permits. */
interface WorkSlots {
  /** Takes slots beyond the limit, for work that cannot be stopped. */
  take(slots: number): void;
  freeSlots(slots: number): void;
}

interface PendingImagesOptions {
  readonly queue: BatchQueueOptions;
  readonly slots: WorkSlots;
  readonly drainRate: DrainRate;
  readonly metrics: EngineMetrics;
  readonly logger: Pick<EngineLogger, 'error'>;
}

type PendingEntry = Entry<PendingItem>;

/** The images of one engine that are not answered: those in the queue, and those that an inference process has. */
export class PendingImages {
  readonly #options: PendingImagesOptions;
  readonly #queue: BatchQueue<PendingItem>;

  constructor(options: PendingImagesOptions) {
    this.#options = options;
    this.#queue = new BatchQueue(options.queue);
  }

  /** Images that wait or run; those that run though nobody waits for them are among them. */
  get size(): number {
    return this.#queue.size;
  }

  /** Cost of the images that wait for a worker. */
  get waitingCost(): number {
    return this.#queue.waitingCost;
  }

  /** Cost of those that may run now. */
  get runnableCost(): number {
    return this.#queue.runnableCost;
  }

  /**
   * Puts an image in the queue and waits for its answer.
   *
   * @param textSlots that were taken for its texts; they are freed when its work has ended
   * @throws ServiceError image_crashes_model | invalid_option | internal | draining; the signal's reason when it is
   *   aborted
   */
  async run(item: WorkItem, textSlots: number, { priority, signal }: RunRequest): Promise<Answered> {
    const pending = new PendingItem(item, textSlots);
    const entry = this.#queue.add(pending, { groupKey: groupKeyOf(item), cost: 1 + textSlots, priority });
    const onAbort = (): void => {
      this.#drop(entry, dropReasonOf(signal), abortError(signal));
    };
    signal.addEventListener('abort', onAbort);
    try {
      return await pending.answer;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Takes the next batch as a job for a worker; see BatchQueue.take. */
  take(maxCost: number, share: number): { readonly job?: Job; readonly dueInMs?: number } {
    const { batch, dueInMs } = this.#queue.take(maxCost, share);
    return {
      ...(batch.length > 0 && { job: this.#jobOf(batch) }),
      ...(dueInMs !== undefined && { dueInMs }),
    };
  }

  /** Fails every image, as the service stops before they are answered. */
  dropAll(): void {
    for (const entry of [...this.#queue.entries()]) {
      const error = new ServiceError('draining', 'the service stopped before the image was answered');
      this.#drop(entry, 'draining', error);
    }
  }

  #jobOf(batch: readonly PendingEntry[]): Job {
    const { metrics, drainRate } = this.#options;
    /** Entries that were still wanted when the run began. */
    let run: readonly PendingEntry[] = [];
    return {
      items: batch.map(({ item }) => item.item),
      isCostly: batch.some(({ cost }) => cost >= costlyFrom),
      handedOver: (skip) => {
        for (const [index, { item }] of batch.entries()) {
          item.skip = () => {
            skip(index);
          };
        }
      },
      begun: () => {
        for (const { item } of batch) item.skip = undefined;
        this.#queue.begin(batch);
        run = batch.filter(({ item }) => !item.isSettled);
        metrics.batchRuns(run.map(({ waitedMs }) => waitedMs));
      },
      answered: (answers, elapsedMs) => {
        const cost = run.reduce((sum, entry) => sum + entry.cost, 0);
        if (cost > 0) drainRate.record(cost, elapsedMs);
        for (const [index, entry] of batch.entries()) {
          this.#end(entry);
          this.#settle(entry, answers[index] ?? noAnswer);
        }
      },
      returned: () => {
        for (const { item } of batch) item.skip = undefined;
        this.#queue.putBack(batch);
      },
      crashed: () => {
        for (const entry of batch) if (entry.item.isSettled) this.#end(entry);
        for (const { item } of this.#queue.putBackAfterCrash(batch)) {
          metrics.dropped('crash', 1);
          this.#freeSlots(item);
          item.fail(new ServiceError('image_crashes_model', 'the model crashes on this image'));
        }
      },
    };
  }

  #settle({ item, waitedMs }: PendingEntry, answer: ItemAnswer): void {
    if (!item.settle(answer, waitedMs)) return;
    if (answer.ok) this.#options.metrics.answered(answer.outcome);
    else if (answer.code === 'internal') this.#options.logger.error(`an image failed: ${answer.message}`);
  }

  /** Settles an entry that nobody waits for any more, and keeps it from being run if that is still possible. */
  #drop(entry: PendingEntry, reason: DropReason, error: Error): void {
    const { item } = entry;
    if (!item.fail(error)) return;
    this.#options.metrics.dropped(reason, 1);
    if (this.#queue.remove(entry)) this.#freeSlots(item);
    else if (item.skip !== undefined) {
      item.skip();
      item.skip = undefined;
      this.#end(entry);
    } else {
      // The request gives its slot back now, but the worker is busy with the image until the run ends.
      this.#options.slots.take(1);
      item.slots += 1;
    }
  }

  /** Ends the work of an entry; without effect when it has ended. */
  #end(entry: PendingEntry): void {
    if (this.#queue.done(entry)) this.#freeSlots(entry.item);
  }

  #freeSlots(item: PendingItem): void {
    const { slots } = item;
    item.slots = 0;
    this.#options.slots.freeSlots(slots);
  }
}

const noAnswer: ItemAnswer = { ok: false, code: 'internal', message: 'there is no answer' };

/** Images of one beam size share a batch, as it shapes the decoder's tensors; images to score need no decoder. */
function groupKeyOf(item: WorkItem): string {
  return item.kind === 'caption' ? `caption:${item.options.beamSize}` : item.kind;
}

/** An image that waits for its answer. It is settled once: by an inference process, or by whatever ends the wait. */
export class PendingItem {
  readonly #answer = deferred<Answered>();
  #isSettled = false;
  /** Tells the worker to skip this image; set while a worker has it and has not begun to run it. */
  skip: (() => void) | undefined;

  /** @param slots that the work holds beside those of the request's permit */
  constructor(
    readonly item: WorkItem,
    public slots: number,
  ) {}

  get answer(): Promise<Answered> {
    return this.#answer.promise;
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** Settles with the answer of an inference process; false when the item was settled before. */
  settle(answer: ItemAnswer, queueMs: number): boolean {
    if (!answer.ok) return this.fail(errorOf(answer));
    if (!this.#begin()) return false;
    this.#answer.resolve({ outcome: answer.outcome, queueMs });
    return true;
  }

  /** Settles with an error; false when the item was settled before. */
  fail(error: Error): boolean {
    if (!this.#begin()) return false;
    this.#answer.reject(error);
    return true;
  }

  #begin(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    return true;
  }
}

function errorOf({ code, message }: Extract<ItemAnswer, { ok: false }>): ServiceError {
  // An internal message is for the log; a client's own mistake is explained to the client.
  return code === 'invalid_option'
    ? new ServiceError(code, message)
    : new ServiceError('internal', 'the model gave no answer for this image');
}
