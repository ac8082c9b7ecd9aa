import { createHash } from 'node:crypto';
import type { Region } from '../images/decode.js';
import type { WorkItem, WorkOutcome } from '../inference/messages.js';
import type { ServedModel } from '../scheduler/model.js';
import type { ModelOptions } from './options.js';
import type { ImageFacts } from './results.js';

/** What is asked about an image. */
export type Question =
  /** `region` is the part of the image that is captioned, in place of the whole. */
  | { readonly kind: 'caption'; readonly options: ModelOptions; readonly region?: Region }
  | Omit<Extract<WorkItem, { kind: 'score' }>, 'pixels'>
  | { readonly kind: 'embed-image' };

/** The model's answer about an image, as the result cache keeps it. */
export interface ImageAnswer {
  readonly outcome: WorkOutcome;
  readonly image: ImageFacts;
  readonly queueMs: number;
  readonly decodeMs: number;
}

/** Measured bytes of memory that an answer takes: without its parts, for each text, tag and explained patch. */
const bytesOf = { answer: 900, text: 240, tag: 100, patch: 26 };
/** Bytes of an answer of the usual size. `CACHE_SIZE` counts a larger one as several. */
const usualBytes = 2000;

/**
 * A key that is equal where the same client asks the same model the same about the same bytes. The model is the same where
 * bundle, provider, precision and the placement of its graphs on devices are. It is a cryptographic hash, as nobody may be
 * able to make two images that get each other's caption.
 */
export function answerKey(model: ServedModel, client: string, bytes: Uint8Array, question: Question): string {
  const { bundle, provider, placement, precision } = model;
  const meaning = meaningOf(question);
  return createHash('sha256')
    .update(JSON.stringify([client, bundle.digest, provider, placement, precision, question.kind, meaning]))
    .update(bytes)
    .digest('base64');
}

function meaningOf(question: Question): unknown {
  switch (question.kind) {
    case 'caption':
      return [canonical(question.options), question.region];
    case 'score':
      return question.texts;
    case 'embed-image':
      return undefined;
  }
}

/** Equal for options that mean the same, in whatever order they were given. */
function canonical(options: ModelOptions): unknown {
  const { concepts, conceptsMode, avoidWords } = options;
  const meant = {
    ...options,
    conceptsMode: concepts.length === 0 ? 'replace' : conceptsMode,
    avoidWords: [...new Set(avoidWords.map((word) => word.toLowerCase()))].sort(),
  };
  return Object.entries(meant).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** How many answers of the usual size this one takes the memory of. */
export function answerSize({ outcome }: ImageAnswer): number {
  if ('embeddings' in outcome) {
    const numbers = outcome.embeddings.reduce((sum, { length }) => sum + length, 0);
    return Math.ceil((bytesOf.answer + 4 * numbers) / usualBytes);
  }
  const isCaption = 'candidates' in outcome;
  const texts = isCaption ? outcome.candidates : outcome.scores;
  const patches = isCaption ? outcome.concepts.flatMap((concept) => concept.patches ?? []) : [];
  const tags = isCaption ? (outcome.tags ?? []) : [];
  const bytes =
    bytesOf.answer + texts.length * bytesOf.text + tags.length * bytesOf.tag + patches.length * bytesOf.patch;
  return Math.ceil(bytes / usualBytes);
}
