import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { addAbortSignal, type Readable } from 'node:stream';
import { ServiceError } from '../problem.js';

/** Files are read in pieces of this size, so that one that is too large, or has no end, is left early. */
const pieceBytes = 1024 * 1024;

/**
 * Reads a file, a pipe, or standard input (`-`) whole.
 *
 * @param maxBytes as many as the service takes in a body
 * @throws ServiceError not_found | forbidden | body_too_large | image_unreadable
 */
export async function readInput(name: string, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  try {
    if (name === '-') return await readStream(addAbortSignal(signal, process.stdin), maxBytes);
    if ((await stat(name)).size > maxBytes) throw tooLarge(maxBytes);
    return await readStream(createReadStream(name, { signal, highWaterMark: pieceBytes }), maxBytes);
  } catch (error) {
    throw error instanceof ServiceError ? error : fileProblem(error);
  }
}

async function readStream(stream: Readable, maxBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of stream) {
    if (!Buffer.isBuffer(piece)) throw new Error('the stream does not give bytes');
    bytes += piece.length;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function tooLarge(maxBytes: number): ServiceError {
  return new ServiceError(
    'body_too_large',
    `It has more than ${maxBytes} bytes, the setting MAX_BODY_BYTES.`,
  );
}

/** What the system says about a file, as one of the service's problems. */
export function fileProblem(error: unknown): ServiceError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'an unknown error';
  if (code === 'ENOENT' || code === 'ENOTDIR') return new ServiceError('not_found', 'There is no such file.');
  if (code === 'EACCES' || code === 'EPERM')
    return new ServiceError('forbidden', 'This file may not be read.');
  return new ServiceError('image_unreadable', `The file cannot be read: ${code}.`);
}
