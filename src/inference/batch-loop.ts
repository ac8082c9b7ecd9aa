import type { BatchCommand, DropCommand, ItemAnswer, MessageFromWorker, WorkItem } from './messages.js';

/** Accepts batches at any time, also while one runs, and runs them one at a time in the order they came. */
export interface BatchLoop {
  add(command: BatchCommand): void;
  /** Leaves out an image whose answer is no longer wanted, if its batch has not begun. */
  drop(command: DropCommand): void;
}

/**
 * @param run gives one answer for each item, in order; an error that it throws is not caught, so it ends the process
 * @param send tells the parent that a batch has begun, and its answers
 */
export function createBatchLoop(
  run: (items: readonly WorkItem[]) => Promise<readonly ItemAnswer[]>,
  send: (message: MessageFromWorker) => void,
): BatchLoop {
  /** For each batch that has not begun, the indices of the items that were dropped. */
  const droppedByBatch = new Map<number, Set<number>>();
  let lastBatch = Promise.resolve();

  async function runBatch({ batchId, items }: BatchCommand): Promise<void> {
    // A run blocks the event loop, so the messages that came meanwhile are read here, and drops among them count.
    await new Promise(setImmediate);
    const dropped = droppedByBatch.get(batchId);
    droppedByBatch.delete(batchId);
    send({ type: 'started', batchId });
    const answers = (await run(items.filter((_, index) => dropped?.has(index) !== true))).values();
    send({
      type: 'answers',
      batchId,
      answers: items.map((_, index) =>
        dropped?.has(index) ? droppedAnswer : (answers.next().value ?? missingAnswer),
      ),
    });
  }

  return {
    add(command) {
      droppedByBatch.set(command.batchId, new Set());
      lastBatch = lastBatch.then(() => runBatch(command));
    },
    drop({ batchId, index }) {
      droppedByBatch.get(batchId)?.add(index);
    },
  };
}

const droppedAnswer: ItemAnswer = { ok: false, code: 'internal', message: 'nobody waits for the answer' };
const missingAnswer: ItemAnswer = { ok: false, code: 'internal', message: 'there is no answer' };
