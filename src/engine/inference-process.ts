import type { ForkOptions } from 'node:child_process';

/** How a process is started whose heap is small, and whose memory is in graphs and tensors. */
export function inferenceProcess(): Pick<ForkOptions, 'execArgv' | 'env'> {
  return {
    execArgv: [
      '--enable-source-maps',
      // See `markAtOnce` of serve.ts.
      '--no-incremental-marking',
      // The part of the heap for what is new would grow with the batches that were answered, to 32 MB.
      '--max-semi-space-size=4',
      '--expose-gc',
    ],
    env: {
      // Of glibc: what is larger is given back to the system as soon as it is freed. The bytes of the graphs' files, and what
      // ONNX Runtime makes of them before it has its own form, would stay.
      MALLOC_MMAP_THRESHOLD_: '4194304',
      ...process.env,
      // ONNX Runtime reports what it runs to its maker unless it is told not to, from version 1.29 on.
      ORT_DISABLE_TELEMETRY: '1',
    },
  };
}
