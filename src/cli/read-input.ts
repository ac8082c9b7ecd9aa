import { addAbortSignal } from 'node:stream';
import { readStream } from '../library/files.js';
import { readObject } from '../library/storage.js';

/**
 * Reads a file, an object of S3, or standard input (`-`) whole.
 *
 * @param maxBytes as many as the service takes in a body
 * @throws ServiceError body_too_large; what `readObject` throws
 */
export function readInput(name: string, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  return name === '-'
    ? readStream(addAbortSignal(signal, process.stdin), maxBytes)
    : readObject(name, { maxBytes, signal });
}
