/**
 * The entry of an inference process. ONNX Runtime's `run()` blocks the event loop, and a crash in it ends the process,
 * so it never runs in the process that serves HTTP.
 */
import { createBatchLoop } from './batch-loop.js';
import { type LoadedPipeline, loadPipeline, warmUp } from './load-pipeline.js';
import { BundleError } from './manifest.js';
import {
  isMessageToWorker,
  type ItemAnswer,
  type LoadCommand,
  type MessageFromWorker,
  type WorkItem,
} from './messages.js';
import { answerBatch } from './pipeline.js';
import { createProviderError, ProviderError } from './providers.js';

/** Tests set this variable, so that some images make the process crash or hang; see `testFaults`. */
const hasTestFaults = process.env['PCM_CAPTION_TEST_FAULTS'] === '1';

/** The number of items between two garbage collections. */
const itemsPerCollection = 480;
let itemsSinceCollection = 0;

let pipeline: LoadedPipeline | undefined;
const batches = createBatchLoop(answer, send);

function send(message: MessageFromWorker): void {
  process.send?.(message, undefined, undefined, (error) => {
    // The parent has gone. Its `disconnect` event is about to say so, and an unsent message is no reason to fail.
    if (error !== null) process.exit();
  });
}

async function load(command: LoadCommand): Promise<void> {
  // Heartbeats begin here because loading may take longer than the parent waits for a sign of life.
  setInterval(send, command.heartbeatMs, { type: 'heartbeat' });
  try {
    pipeline = await loadPipeline(command);
    const { placement, ...warmUpMs } = await warmUp(pipeline, command.maxBatch);
    // The bytes of the bundle's files are garbage now, as large as the graphs, and an idle process would keep them.
    collectGarbage();
    send({ type: 'ready', warmUpMs, placement });
  } catch (error) {
    send({ type: 'refused', message: explainRefusal(command.provider, error) });
    process.disconnect();
  }
}

/** Some providers load a library in their first run only, so a failed warm-up is diagnosed as a failed load is. */
function explainRefusal(provider: string, error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const isExplained = error instanceof BundleError || error instanceof ProviderError;
  return isExplained || provider === 'cpu' ? message : createProviderError(provider, message).message;
}

async function answer(items: readonly WorkItem[]): Promise<readonly ItemAnswer[]> {
  if (pipeline === undefined) throw new Error('a batch came before the bundle was loaded');
  if (hasTestFaults) causeFault(items);
  const answers = await answerBatch(pipeline, items);
  itemsSinceCollection += items.length;
  if (itemsSinceCollection >= itemsPerCollection) collectGarbage();
  return answers;
}

/** V8 by itself lets the heap grow to four times its live size. A collection takes about ten milliseconds. */
function collectGarbage(): void {
  itemsSinceCollection = 0;
  globalThis.gc?.();
}

/** Images of one colour all over, and the fault that each causes. Tests show what a fault does to its neighbours. */
const testFaults: readonly { readonly colour: readonly number[]; readonly cause: () => void }[] = [
  { colour: [1, 254, 13], cause: () => process.kill(process.pid, 'SIGKILL') },
  // Blocks the event loop for good, as a run that never ends would.
  {
    colour: [1, 254, 14],
    cause: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
  },
];

function causeFault(items: readonly WorkItem[]): void {
  for (const item of items) {
    if (!('pixels' in item)) continue;
    const { pixels } = item;
    const fault = testFaults.find(({ colour }) =>
      pixels.every((value, index) => value === colour[index % 3]),
    );
    fault?.cause();
  }
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
// A signal to the whole process group is for the parent, which lets requests finish and then disconnects.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.on('SIGHUP', () => undefined);
