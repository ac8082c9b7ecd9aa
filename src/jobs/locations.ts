import { realpath } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { ServiceError } from '../errors.js';
import { fileProblem } from '../library/files.js';

/** The folder and the buckets that jobs may read and write. */
export interface LocationPolicy {
  /** Absent where no folder may be named. */
  readonly root: string | undefined;
  /** `bucket` or `bucket/prefix`. */
  readonly buckets: readonly string[];
}

export interface Locations {
  /**
   * The full name of what a client names: `s3://bucket/key`, or a path in the folder.
   *
   * @throws ServiceError forbidden | storage_unavailable
   */
  resolve(text: string): Promise<string>;
}

const scheme = 's3://';
/** What the system says of a path that leads nowhere, or where this process may not look. */
const unfollowed = ['ELOOP', 'EACCES', 'EPERM', 'ENOTDIR'];

export function isWebAddress(text: string): boolean {
  return /^https?:\/\//i.test(text);
}

export function createLocations({ root, buckets }: LocationPolicy): Locations {
  const prefixes = buckets.map((bucket) => `${scheme}${bucket.replace(/\/+$/, '')}/`);
  return {
    async resolve(text) {
      if (text.includes('\0')) throw forbidden();
      if (text.startsWith(scheme)) {
        // Some servers of S3 keep objects as files, and go where the dots say.
        const isPlain = !text.split('/').includes('..');
        if (isPlain && prefixes.some((prefix) => `${text}/`.startsWith(prefix))) return text;
        throw forbidden();
      }
      if (root === undefined || /^[a-z][a-z0-9+.-]*:\/\//i.test(text)) throw forbidden();
      const path = resolve(root, text);
      // A link in the folder may lead out of it.
      if (!isWithin(resolve(root), path) || !isWithin(await realRoot(root), await realpathOfNearest(path))) {
        throw forbidden();
      }
      return text.endsWith('/') ? `${path}/` : path;
    },
  };
}

function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith('../') && !isAbsolute(way);
}

/** The folder was there at the start: whatever is wrong with it is about the storage, and no path in it is to blame. */
async function realRoot(root: string): Promise<string> {
  return realpath(root).catch(() => {
    throw new ServiceError('storage_unavailable', 'The folder JOBS_ROOT does not answer.');
  });
}

/** Where a path leads once it exists: links of the part that exists are followed. */
async function realpathOfNearest(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (unfollowed.includes(code)) throw forbidden();
    // A shared folder that does not answer for a moment says nothing of the path.
    if (code !== 'ENOENT' || dirname(path) === path) throw fileProblem(error);
    return join(await realpathOfNearest(dirname(path)), relative(dirname(path), path));
  }
}

function forbidden(): ServiceError {
  return new ServiceError(
    'forbidden',
    'Jobs may only use the buckets of JOBS_BUCKETS and the folder JOBS_ROOT; this is none of them.',
  );
}
