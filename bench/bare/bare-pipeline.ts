import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { inferenceProcessOptions } from '../../src/memory-tuning.js';
import {
  type BareLoadCommand,
  type BareTiming,
  isMessageFromBare,
  type MessageFromBare,
  type MessageFromBareOf,
  type MessageToBare,
} from './messages.js';

export interface BatchesResult {
  /** Of all processes together. */
  readonly imagesPerSecond: number;
  /** One a batch. */
  readonly timings: readonly BareTiming[];
}

/** Processes that decode and caption on all cores, each its own photos. */
export interface BarePipeline {
  /** Keeps all processes busy with batches of that size, for at least so long. */
  runBatches(batchSize: number, leastMs: number): Promise<BatchesResult>;
  /** One image at a time in the first process. */
  runSingles(leastMs: number): Promise<readonly BareTiming[]>;
  stop(): Promise<void>;
}

const entry = fileURLToPath(new URL('../bare-process.js', import.meta.url));

/**
 * @param commands one for each process
 * @throws Error when a process ends early; what it wrote went to standard error
 */
export async function startBarePipeline(commands: readonly BareLoadCommand[]): Promise<BarePipeline> {
  const processes = commands.map(startProcess);
  const [first] = processes;
  if (first === undefined) throw new Error('a pipeline needs a process');
  await Promise.all(processes.map((child, index) => ask(child, commands[index], 'loaded')));
  return {
    async runBatches(batchSize, leastMs) {
      const results = processes.map((child) => answer(child, 'batches'));
      await Promise.all(
        processes.map((child) => ask(child, { type: 'batches', batchSize, leastMs }, 'enough')),
      );
      for (const child of processes) tell(child, { type: 'stop' });
      const parts = await Promise.all(results);
      return {
        imagesPerSecond: parts.reduce((sum, { imagesPerSecond }) => sum + imagesPerSecond, 0),
        timings: parts.flatMap(({ timings }) => timings),
      };
    },
    async runSingles(leastMs) {
      return (await ask(first, { type: 'singles', leastMs }, 'singles')).timings;
    },
    async stop() {
      const exits = processes.map((child) => once(child, 'exit'));
      for (const child of processes) child.disconnect();
      await Promise.all(exits);
    },
  };
}

function startProcess(): ChildProcess {
  // As the service starts its processes: the comparison is of what lies between.
  return fork(entry, { ...inferenceProcessOptions(), stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}

function tell(child: ChildProcess, message: MessageToBare | undefined): void {
  if (message !== undefined) child.send(message);
}

function ask<T extends MessageFromBare['type']>(
  child: ChildProcess,
  message: MessageToBare | undefined,
  type: T,
): Promise<MessageFromBareOf<T>> {
  const answered = answer(child, type);
  tell(child, message);
  return answered;
}

/** The next message of that kind. */
function answer<T extends MessageFromBare['type']>(
  child: ChildProcess,
  type: T,
): Promise<MessageFromBareOf<T>> {
  return new Promise((resolve, reject) => {
    const receive = (message: unknown): void => {
      if (!isMessageFromBare(message, type)) return;
      forget();
      resolve(message);
    };
    const fail = (): void => {
      forget();
      reject(new Error('a process of the bare pipeline ended early'));
    };
    const forget = (): void => {
      child.off('message', receive).off('exit', fail);
    };
    child.on('message', receive).on('exit', fail);
  });
}
