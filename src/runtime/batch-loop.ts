import type { BatchOrder, DropOrder, ItemAnswer, MessageFromWorker, WorkItem } from './messages.js';

/** Takes batches as they come, also while one runs, and runs them one at a time in their order. */
export interface BatchLoop {
  add(order: BatchOrder): void;
  /** Spares an image whose answer nobody wants any more, if its batch has not begun. */
  drop(order: DropOrder): void;
}

/** @param run one answer for each item, in order; an error it throws is not caught */
export function createBatchLoop(
  run: (items: readonly WorkItem[]) => Promise<readonly ItemAnswer[]>,
  send: (message: MessageFromWorker) => void,
): BatchLoop {
  /** Of the batches that have not begun, the places of the items that were dropped. */
  const dropped = new Map<number, Set<number>>();
  let work = Promise.resolve();

  async function next({ batchId, items }: BatchOrder): Promise<void> {
    // A run blocks the event loop: what came meanwhile, dropped items among it, is read before the next one.
    await new Promise(setImmediate);
    const gone = dropped.get(batchId);
    dropped.delete(batchId);
    send({ type: 'started', batchId });
    const answers = (await run(items.filter((_, index) => gone?.has(index) !== true))).values();
    send({
      type: 'answers',
      batchId,
      answers: items.map((_, index) => (gone?.has(index) ? unwanted : (answers.next().value ?? missing))),
    });
  }

  return {
    add(order) {
      dropped.set(order.batchId, new Set());
      work = work.then(() => next(order));
    },
    drop({ batchId, index }) {
      dropped.get(batchId)?.add(index);
    },
  };
}

const unwanted: ItemAnswer = { ok: false, code: 'internal', message: 'nobody waits for the answer' };
const missing: ItemAnswer = { ok: false, code: 'internal', message: 'there is no answer' };
