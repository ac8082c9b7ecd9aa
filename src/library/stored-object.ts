import type { ServiceError } from '../errors.js';

export interface StoredObject {
  /** A path, or `s3://bucket/key`. */
  readonly name: string;
  readonly bytes: number;
  /** When it was last written, in Unix milliseconds. */
  readonly modifiedMs: number;
  /** A folder below that cannot be listed, in place of what is in it. */
  readonly problem?: ServiceError;
}

export interface ReadOptions {
  /** An object with more bytes is body_too_large. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}
