import type { WorkItem } from './messages.js';

/** Images of one colour that tests send to see what a crash or a hang does to their neighbours. */
const faults: readonly { readonly colour: readonly number[]; readonly strike: () => void }[] = [
  { colour: [1, 254, 13], strike: () => process.kill(process.pid, 'SIGKILL') },
  { colour: [1, 254, 14], strike: hang },
];

/** Crashes or hangs when an item is an image of a fault's colour all over. */
export function injectFault(items: readonly WorkItem[]): void {
  for (const { pixels } of items) {
    const fault = faults.find(({ colour }) => pixels.every((value, index) => value === colour[index % 3]));
    fault?.strike();
  }
}

/** Blocks the event loop for good, as a run that never ends would. */
function hang(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
