import { parentPort } from 'node:worker_threads';
import { resample, type Resampling } from './resample.js';

/** What a thread of `resampleAside` runs: one resize after the other. */
if (parentPort === null) throw new Error('this file is the entry of a worker thread');
const port = parentPort;
port.on('message', ({ pixels, ...resampling }: Resampling & { readonly pixels: Uint8Array }) => {
  const resized = resample(pixels, resampling);
  port.postMessage(resized, [resized.buffer]);
});
