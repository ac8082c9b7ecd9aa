import { type ChildProcess, fork, type ForkOptions } from 'node:child_process';
import { readSync } from 'node:fs';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A process that runs a part of this program: it decodes images, or runs the model. */
export interface Child {
  readonly process: ChildProcess;
  /** Resolves with how it ended, or why it could not be started, when its last message has been received. */
  readonly ended: Promise<string>;
  /**
   * Without effect on a process that has gone: `ended` tells.
   *
   * @param bytes go through a pipe of their own, where a message would copy them twice; see `receiveBytes`
   */
  send(message: object, bytes?: Uint8Array): void;
  /** Lets this program end though the process waits for messages. */
  unref(): void;
}

/** The file descriptor, in the child, of the pipe for bytes. */
const bytesDescriptor = 4;

/**
 * Starts a process of this program. Never throws: what goes wrong is told by `ended`.
 *
 * @param onLine is called with each line that the process writes; libraries tell there why they crash
 */
export function startChild(
  entry: URL,
  options: Pick<ForkOptions, 'execArgv' | 'env'>,
  onLine: (line: string, pid: number | undefined) => void,
): Child {
  const child = fork(fileURLToPath(entry), {
    serialization: 'advanced', // bytes travel as they are, not as JSON
    stdio: ['ignore', 'pipe', 'pipe', 'ipc', 'pipe'],
    ...options,
  });
  // Without one there are no streams and no channel either.
  const isStarted = child.pid !== undefined;
  const sockets = isStarted ? child.stdio.filter((stream) => stream instanceof Socket) : [];
  const bytesPipe = sockets.at(-1);
  bytesPipe?.on('error', () => undefined); // it breaks when the process ends
  for (const stream of isStarted ? [child.stdout, child.stderr] : []) {
    if (stream === null) continue;
    createInterface(stream).on('line', (line) => {
      onLine(line, child.pid);
    });
  }
  return {
    process: child,
    ended: endOf(child),
    send(message, bytes) {
      if (!isStarted) return;
      child.send(message, () => undefined);
      if (bytes !== undefined) bytesPipe?.write(bytes);
    },
    unref() {
      child.unref();
      child.channel?.unref();
      for (const socket of sockets) socket.unref();
    },
  };
}

async function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    const disconnected = new Promise((done) => child.once('disconnect', done));
    child.once('error', (error) => {
      resolve(`could not be started: ${error.message}`);
    });
    child.once('exit', (code, signal) => {
      const how = signal === null ? `ended with exit code ${String(code)}` : `ended by ${signal}`;
      if (!child.connected) {
        resolve(how);
        return;
      }
      // The last messages may come after the exit, and this program must not end before.
      child.channel?.ref();
      void disconnected.then(() => {
        resolve(how);
      });
    });
  });
}

/** In a child: waits for the bytes that were sent with a message. */
export function receiveBytes(length: number): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow(length);
  for (let at = 0; at < length;) {
    const read = readSync(bytesDescriptor, bytes, at, length - at, null);
    if (read === 0) process.exit(0); // the sender has gone
    at += read;
  }
  return bytes;
}
