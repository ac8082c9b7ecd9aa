import type { ForkOptions } from 'node:child_process';
import { setFlagsFromString } from 'node:v8';

/**
 * What tunes V8 and glibc for heaps that are small beside the memory outside of them. Bodies, pixels and tensors of 60 MB a
 * second lie outside of V8's heap; docs/decisions/0010 has what was measured.
 */

/**
 * Has V8 mark live objects of this process in one go, in 10 to 20 ms. It takes much memory outside of its heap for a reason to
 * begin marking three times a second; steps, and the threads that mark beside them, would cost 3 ms of CPU an image.
 */
export function disableIncrementalMarking(): void {
  setFlagsFromString('--no-incremental-marking');
  setFlagsFromString('--no-memory-reducer');
}

/** How an inference process is started. It calls `gc` itself, after the warm-up and every few hundred images. */
export function inferenceProcessOptions(): Pick<ForkOptions, 'execArgv' | 'env'> {
  return {
    execArgv: [
      '--enable-source-maps',
      // The part of the heap for new objects would grow with the batches that were answered, to 32 MB.
      '--max-semi-space-size=4',
      '--expose-gc',
    ],
    env: {
      // glibc gives blocks larger than this back to the system as soon as they are freed. The bytes of the graphs' files, and
      // what ONNX Runtime makes of them before it has its own form, would stay.
      MALLOC_MMAP_THRESHOLD_: '4194304',
      ...process.env,
      // ONNX Runtime reports what it runs to its maker unless it is told not to, from version 1.29 on.
      ORT_DISABLE_TELEMETRY: '1',
    },
  };
}
