/**
 * Entry of an inference process. ONNX Runtime's `run()` blocks the event loop, and a crash in it takes the process
 * along, so it never runs in the process that serves HTTP.
 */
import { createBatchLoop } from './batch-loop.js';
import { BundleError } from './bundle-manifest.js';
import {
  isMessageToWorker,
  type ItemAnswer,
  type LoadOrder,
  type MessageFromWorker,
  type WorkItem,
} from './messages.js';
import { answerBatch, type LoadedPipeline, loadPipeline, warmUp } from './load.js';
import { ProviderError, providerError } from './providers.js';

/** Test hook: with this variable set, images of certain colours make the process crash or hang. */
const beforeBatch =
  process.env['PCM_CAPTION_TEST_FAULTS'] === '1' ? (await import('./test-faults.js')).injectFault : undefined;

/** Items between two collections of garbage. */
const itemsPerCollection = 480;
let itemsSinceCollection = 0;

let pipeline: LoadedPipeline | undefined;
const batches = createBatchLoop(answer, send);

function send(message: MessageFromWorker): void {
  process.send?.(message, undefined, undefined, (error) => {
    if (error !== null) process.exit(); // the parent has gone, and `disconnect` is about to say so
  });
}

async function load(order: LoadOrder): Promise<void> {
  // Unlike a batch, loading may take longer than the parent waits for a sign of life; it has a limit of its own.
  setInterval(send, order.heartbeatMs, { type: 'heartbeat' });
  try {
    pipeline = await loadPipeline(order);
    const { placement, ...warmUpMs } = await warmUp(pipeline, order.maxBatch);
    // The files' bytes are garbage by now, as much as the graphs themselves, and a process that waits would keep them.
    collectGarbage();
    send({ type: 'ready', warmUpMs, placement });
  } catch (error) {
    send({ type: 'refused', message: refusal(order.provider, error) });
    process.disconnect();
  }
}

/** A failure of the warm-up may come from what a provider loads only when it first runs. */
function refusal(provider: string, error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const isExplained = error instanceof BundleError || error instanceof ProviderError;
  return isExplained || provider === 'cpu' ? message : providerError(provider, message).message;
}

async function answer(items: readonly WorkItem[]): Promise<readonly ItemAnswer[]> {
  if (pipeline === undefined) throw new Error('a batch came before the bundle was loaded');
  beforeBatch?.(items);
  const answers = await answerBatch(pipeline, items);
  itemsSinceCollection += items.length;
  if (itemsSinceCollection >= itemsPerCollection) collectGarbage();
  return answers;
}

/** V8 by itself would let the heap grow to four times what is alive in it. It takes ten milliseconds. */
function collectGarbage(): void {
  itemsSinceCollection = 0;
  globalThis.gc?.();
}

process.on('message', (message: unknown) => {
  if (!isMessageToWorker(message)) throw new Error('a message of an unknown kind');
  switch (message.type) {
    case 'load':
      void load(message);
      break;
    case 'batch':
      batches.add(message);
      break;
    case 'drop':
      batches.drop(message);
  }
});
process.on('disconnect', () => process.exit());
// A signal to the whole process group is the parent's to answer: it drains, then disconnects.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.on('SIGHUP', () => undefined);
