import { type ErrorCode, ServiceError } from '../errors.js';

/** Errors that are about the worker or the storage: the shard is tried again later, and the image has no result yet. */
const ofTheWorker: readonly ErrorCode[] = ['queue_full', 'not_ready', 'draining', 'storage_unavailable'];

/** Whether it says nothing of the image, so that the image is not to blame. */
export function isOfTheWorker(error: unknown): boolean {
  return error instanceof ServiceError && ofTheWorker.includes(error.code);
}

/** Whether the same may go well in a moment. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof ServiceError)) return false;
  return error.isTransient || isOfTheWorker(error) || error.code === 'deadline_exceeded';
}

/** Whether trying again later would end the same way. Errors that nobody expected may be of the queue server. */
export function isPermanent(error: unknown): boolean {
  return error instanceof ServiceError && !isTransient(error);
}
