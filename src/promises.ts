import { ServiceError } from './errors.js';

/** A promise and its two ends; `Promise.withResolvers` where Node has it (22 and later). */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

export function deferred<T>(): Deferred<T> {
  let resolve: ((value: T) => void) | undefined;
  let reject: ((error: Error) => void) | undefined;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve: (value) => resolve?.(value), reject: (error) => reject?.(error) };
}

/** Why a request's signal is aborted when its client has closed the connection. */
export class ClientDisconnected extends Error {
  override readonly name = 'ClientDisconnected';

  constructor() {
    super('the client has closed the connection');
  }
}

/**
 * Waits for a promise until the signal is aborted. This is the only place where work races a deadline: a request's
 * signal is aborted at its deadline too.
 *
 * @throws the signal's reason, as an Error, when it is aborted first
 */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => {
      reject(abortError(signal));
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
  }
}

/** The reason of an aborted signal as an Error. */
export function abortError({ reason }: AbortSignal): Error {
  return reason instanceof Error ? reason : new Error('the request was aborted', { cause: reason });
}

/** The reason of a request whose time is over. */
export function deadlineExceeded(): ServiceError {
  return new ServiceError('deadline_exceeded', 'The answer was not ready in time.');
}

/** Whether a signal is aborted because the time of its request is over. */
export function isPastDeadline({ reason }: AbortSignal): boolean {
  return reason instanceof ServiceError && reason.code === 'deadline_exceeded';
}
