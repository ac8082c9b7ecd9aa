import { Worker } from 'node:worker_threads';
import type { Resampling } from './resample.js';

const entry = new URL('./resample-thread.js', import.meta.url);
/** As many as images were ever decoded side by side, which `createDecoder` bounds. */
const idle: Worker[] = [];

/**
 * `resample` in a thread of its own: it takes up to some ten milliseconds, which the thread that answers requests cannot spare.
 *
 * @param pixels [from.height, from.width, 3] row-major; copied, as memory that sharp made cannot be handed over
 * @returns [to.height, to.width, 3] row-major
 */
export async function resampleAside(pixels: Uint8Array, resampling: Resampling): Promise<Uint8Array> {
  const thread = idle.pop() ?? new Worker(entry);
  thread.ref();
  const resized = await new Promise<Uint8Array>((resolve, reject) => {
    thread.once('message', resolve);
    // The thread is gone then, and the next image starts another.
    thread.once('error', reject);
    thread.postMessage({ pixels, ...resampling });
  });
  thread.removeAllListeners('error');
  // A thread that waits must not keep a process alive that has nothing else to do.
  thread.unref();
  idle.push(thread);
  return resized;
}
