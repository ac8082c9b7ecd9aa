import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { ServiceError } from '../errors.js';
import type { ReadOptions, StoredObject } from './stored-object.js';

/** Files are read in pieces of this size, so that one that is too large, or has no end, is left early. */
const pieceBytes = 1024 * 1024;
/** photo2 comes before photo10, on every machine. */
const { compare } = new Intl.Collator('en', { numeric: true });

/** Reads a folder when it gets there, and holds the names of those that it is in. */
export async function* listObjects(folder: string, signal?: AbortSignal): AsyncGenerator<StoredObject, void> {
  signal?.throwIfAborted();
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw fileProblem(error);
  });
  for (const entry of entries.sort((a, b) => compare(a.name, b.name))) {
    if (entry.name.startsWith('.')) continue;
    const name = join(folder, entry.name);
    if (!entry.isDirectory()) yield await describe(name);
    else yield* listBelow(name, signal);
  }
}

async function* listBelow(folder: string, signal?: AbortSignal): AsyncGenerator<StoredObject, void> {
  try {
    yield* listObjects(folder, signal);
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    yield { name: folder, bytes: 0, modifiedMs: 0, problem: error };
  }
}

/** A file that has gone meanwhile is told when it is read. */
async function describe(name: string): Promise<StoredObject> {
  const found = await stat(name).catch(() => undefined);
  return { name, bytes: found?.size ?? 0, modifiedMs: found?.mtimeMs ?? 0 };
}

export async function readObject(name: string, { maxBytes, signal }: ReadOptions): Promise<Buffer> {
  try {
    if ((await stat(name)).size > maxBytes) throw tooLarge(maxBytes);
    return await readStream(createReadStream(name, { signal, highWaterMark: pieceBytes }), maxBytes);
  } catch (error) {
    signal?.throwIfAborted();
    throw fileProblem(error);
  }
}

/**
 * The content goes to the disk under another name in the same folder, which then takes the place of the old file with its
 * permissions. Where the name is a link, the file that it points to is replaced.
 */
export async function writeObject(name: string, content: string | Buffer): Promise<void> {
  try {
    await replaceFile(name, async (unfinished) => {
      await writeFile(unfinished, content, { flag: 'wx' });
    });
  } catch (error) {
    throw fileProblem(error);
  }
}

/** Lets a new file be written under a name of its own, and puts it in place of another. Throws what `write` and the system throw. */
export async function replaceFile(name: string, write: (unfinished: string) => Promise<void>): Promise<void> {
  const target = await realpath(name).catch(() => name);
  const folder = dirname(target);
  // Hidden, so that no listing shows it, and with the extension, which tells programs the format. With the name as well, it
  // could be longer than a name may be.
  const unfinished = join(folder, `.${randomBytes(6).toString('hex')}${extname(target)}`);
  try {
    await mkdir(folder, { recursive: true });
    await write(unfinished);
    const mode = (await stat(target).catch(() => undefined))?.mode;
    const file = await open(unfinished, 'r+');
    try {
      if (mode !== undefined) await file.chmod(mode & 0o7777);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(unfinished, target);
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** @throws ServiceError body_too_large */
export async function readStream(stream: Readable, maxBytes: number): Promise<Buffer> {
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

export function tooLarge(maxBytes: number): ServiceError {
  return new ServiceError(
    'body_too_large',
    `It has more than ${maxBytes} bytes, the setting MAX_BODY_BYTES.`,
  );
}

/** What the next file that is written would meet, too. */
export class DiskFull extends ServiceError {
  constructor() {
    super('storage_unavailable', 'The disk is full.');
  }
}

/** What the system says about a file, as one of the service's problems. */
export function fileProblem(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'an unknown error';
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new ServiceError('not_found', 'There is no such file.');
    case 'EISDIR':
    case 'ELOOP':
    case 'ENAMETOOLONG':
      return new ServiceError('not_found', `There can be no file of this name: ${code}.`);
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new ServiceError('forbidden', 'This file may not be read or written.');
    case 'ENOSPC':
    case 'EDQUOT':
      return new DiskFull();
    default:
      return new ServiceError('storage_unavailable', `The file cannot be read or written: ${code}.`);
  }
}
