import type { FastifyBaseLogger } from 'fastify';
import { type Problem, problemDocument } from '../schemas/problem.js';
import type { CaptionResult } from '../schemas/caption-result.js';
import { reportProblem } from '../plugins/problems.js';
import { type Admission, hasGone } from '../submission/admission.js';
import type { ImageWay } from '../submission/read-pixels.js';
import type { ImageSource } from '../submission/submission.js';
import { captionImage } from './caption-image.js';
import type { AskedCaption } from './caption-options.js';

/** What became of one image of a batch. */
export type BatchEntry =
  | { readonly index: number; readonly result: CaptionResult }
  | { readonly index: number; readonly error: Problem };

export interface BatchContext {
  readonly admission: Admission;
  readonly requestId: string;
  readonly log: FastifyBaseLogger;
}

/**
 * Captions every image of a batch; what goes wrong with one is its own entry's problem.
 * @returns one promise for each image, in order; they reject only when the client has gone
 */
export function captionBatch(
  way: ImageWay,
  sources: readonly ImageSource[],
  asked: AskedCaption,
  { admission, requestId, log }: BatchContext,
): Promise<BatchEntry>[] {
  const { signal } = admission;
  const ended = whenAborted(signal);
  return sources.map(async (source, index) => {
    try {
      return { index, result: await Promise.race([captionImage(way, source, asked, admission), ended]) };
    } catch (error) {
      if (hasGone(signal)) throw error;
      // At the deadline the parts fail in ways of their own; the reason is the same.
      const cause: unknown = signal.aborted ? signal.reason : error;
      return { index, error: problemDocument(reportProblem(cause, log.child({ index })), requestId) };
    }
  });
}

function whenAborted(signal: AbortSignal): Promise<never> {
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener(
      'abort',
      () => {
        reject(new Error('the batch is over', { cause: signal.reason }));
      },
      { once: true },
    );
  });
  // Nobody may be waiting for it any more.
  aborted.catch(() => undefined);
  return aborted;
}
