import { createHash } from 'node:crypto';
import type { CaptionResult } from '../captioner/results.js';
import { type ErrorCode, errorCodes, ServiceError } from '../errors.js';

/** Where the images of a job are. A name that ends with a slash is a folder or a prefix, with all images below it. */
export type JobSource =
  | { readonly urls: readonly string[] }
  | { readonly prefix: string }
  /** A text with a name on each line. */
  | { readonly manifest: string };

/** What a client wants done. */
export interface JobOrder {
  readonly source: JobSource;
  /** Options of a caption, as they were given. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Folder or prefix of the results, without a slash at its end. */
  readonly output: string;
  /** Told when the job has ended. */
  readonly webhook?: string | undefined;
}

/** Why the shards of a job are not worked on any more. */
export type StopReason = 'cancelled' | 'failed';

/** A job on the queue server. It stays small: what grows with the number of images is in the output. */
export interface JobData {
  readonly output: string;
  readonly options: JobOrder['options'];
  readonly webhook?: string | undefined;
  /** Who may see it: an API key, by its hash, or everybody. */
  readonly owner: string;
  /** The same for orders of the same images with the same options. */
  readonly fingerprint: string;
  readonly stopped?: StopReason;
}

/** How the images of a job are cut; kept as the progress of the job on the queue server. */
export interface JobPlan {
  readonly images: number;
  readonly shards: number;
  readonly shardImages: number;
}

export interface JobOutcome {
  readonly status: 'done' | StopReason;
  readonly problem?: Problem;
}

export interface ShardData {
  /** The job it is a part of. */
  readonly job: string;
  readonly index: number;
}

/** What became of a shard; `stopped` means that nothing was written. */
export interface ShardOutcome {
  readonly index: number;
  readonly captioned: number;
  readonly failed: number;
  readonly stopped?: true;
}

/** An error as results and jobs keep it. */
export interface Problem {
  readonly code: ErrorCode;
  readonly title: string;
  readonly detail: string;
}

/** A line of the results. */
export type JobResult = { readonly index: number; readonly source: string } & (
  { readonly result: CaptionResult } | { readonly error: Problem }
);

export function problemOf(error: unknown): Problem {
  const { code, detail } =
    error instanceof ServiceError
      ? error
      : new ServiceError('internal', 'It failed; the log of the worker has the reason.');
  return { code, title: errorCodes[code].title, detail };
}

/** Equal for orders that give the same results. */
export function fingerprintOf({ source, options }: Pick<JobOrder, 'source' | 'options'>): string {
  const sorted = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([source, sorted]))
    .digest('hex');
}

export const jobStatuses = [
  'queued',
  'planning',
  'running',
  'cancelling',
  'done',
  'failed',
  'cancelled',
] as const;
export type JobStatus = (typeof jobStatuses)[number];

/** A job as clients see it. */
export interface JobDocument {
  readonly id: string;
  readonly status: JobStatus;
  readonly output: string;
  /** `total` is absent until all images are listed. */
  readonly images: { readonly total?: number; readonly captioned: number; readonly failed: number };
  readonly shards: { readonly total?: number; readonly done: number };
  readonly createdAt: string;
  readonly finishedAt?: string;
  /** Why it failed. */
  readonly problem?: Problem;
}

/** A message to a client that its job has ended. */
export interface HookData {
  readonly url: string;
  readonly event: string;
  readonly document: JobDocument;
}
