/**
 * The messages between the serving process and an inference process. Everything here survives the structured clone of
 * `child_process.fork({ serialization: 'advanced' })`.
 */

import type { ModelOptions } from '../captioner/options.js';

export type { ModelOptions } from '../captioner/options.js';

/** One image to caption. */
export interface CaptionItem {
  readonly kind: 'caption';
  /** [H, W, 3], row-major sRGB, of exactly the bundle's image size. */
  readonly pixels: Uint8Array;
  readonly options: ModelOptions;
}

/** One image, and the texts to compare it with. */
export interface ScoreItem {
  readonly kind: 'score';
  /** [H, W, 3], row-major sRGB, of exactly the bundle's image size. */
  readonly pixels: Uint8Array;
  /** At least one text. */
  readonly texts: readonly string[];
}

/** One image to embed. */
export interface ImageEmbeddingItem {
  readonly kind: 'embed-image';
  /** [H, W, 3], row-major sRGB, of exactly the bundle's image size. */
  readonly pixels: Uint8Array;
}

/** Texts to embed. */
export interface TextEmbeddingItem {
  readonly kind: 'embed-texts';
  /** At least one text. */
  readonly texts: readonly string[];
}

export type EmbeddingItem = ImageEmbeddingItem | TextEmbeddingItem;

/** One item of a batch. */
export type WorkItem = CaptionItem | ScoreItem | EmbeddingItem;

export interface Candidate {
  /** The sentence, with a capital letter and no full stop. */
  readonly text: string;
  /** Calibrated probability, 0…1. What it is the probability of, the bundle's calibration defines. */
  readonly confidence: number;
  /** 2.5 · max(cos, 0) of the caption and the image, 0…2.5 (CLIPScore, Hessel et al. 2021). */
  readonly clipScore: number;
  /** Sum of the natural logarithms of the token probabilities, end of sentence included. */
  readonly logProb: number;
  /** `logProb` divided by the number of tokens, end of sentence included. */
  readonly meanLogProb: number;
}

export interface DetectedConcept {
  readonly word: string;
  /** Share in the detection softmax, 0…1. */
  readonly score: number;
  /** Cosine of each patch with the concept: [rows · columns], row-major. It is there only with `explain`. */
  readonly patches?: readonly number[];
}

/** A word that people would name, and the probability that they do. */
export interface Tag {
  readonly word: string;
  /** Calibrated probability, 0…1, independent of other words. */
  readonly probability: number;
}

export interface GridSize {
  readonly rows: number;
  readonly columns: number;
}

/** The time that each stage took for the whole batch this image was in. */
export interface StageTiming {
  readonly encodeMs: number;
  readonly mixupMs: number;
  readonly captionMs: number;
  readonly scoreMs: number;
}

export interface CaptionOutcome {
  /** Best first. */
  readonly candidates: readonly Candidate[];
  /** Most certain first. */
  readonly concepts: readonly DetectedConcept[];
  /** Most probable first; absent when the bundle has no tags. */
  readonly tags?: readonly Tag[];
  readonly gridSize?: GridSize;
  readonly timing: StageTiming;
}

export interface TextScore {
  /** Cosine of the text's and the image's embeddings. */
  readonly cosine: number;
  /** 2.5 · max(cos, 0), 0…2.5. */
  readonly clipScore: number;
  /**
   * Probability that the text belongs to this image and not to a random other one, at a prior of 0.5. It is there only
   * when the bundle has a calibration for it.
   */
  readonly matchProbability?: number;
  /** Whether the text has more tokens than the text encoder takes, so that its end was not read. */
  readonly isTruncated: boolean;
}

export interface ScoreOutcome {
  /** One for each text, in order. */
  readonly scores: readonly TextScore[];
  readonly timing: Pick<StageTiming, 'encodeMs' | 'scoreMs'>;
}

export interface EmbeddingOutcome {
  /** Of the image, or of each text in order: unit vectors of E numbers, in one space. */
  readonly embeddings: readonly Float32Array[];
  readonly timing: Pick<StageTiming, 'encodeMs' | 'scoreMs'>;
}

export type WorkOutcome = CaptionOutcome | ScoreOutcome | EmbeddingOutcome;

/** The answer to one item of a batch. `message` is for the log, never for a client. */
export type ItemAnswer<Outcome = WorkOutcome> =
  | { readonly ok: true; readonly outcome: Outcome }
  | { readonly ok: false; readonly code: ItemErrorCode; readonly message: string };

/** The error codes of the API that an inference process can give a single item. */
export type ItemErrorCode = 'invalid_option' | 'internal';

/** The execution provider that each graph of the bundle runs on. */
export interface Placement {
  readonly encoder: string;
  readonly mixup: string;
  readonly decoder: string;
  readonly textEncoder: string;
}

/** The first message to an inference process: the bundle it serves, and the hardware it uses. */
export interface LoadCommand {
  readonly type: 'load';
  /** The bundle's folder, an absolute path. */
  readonly bundlePath: string;
  /** The `digest` that the bundle must have; without it, any bundle is loaded. */
  readonly bundleDigest?: string;
  /** The execution provider of ONNX Runtime: `cpu`, `cuda`, … */
  readonly provider: string;
  /** Whether a driver that computes on the CPU is refused, although it presents itself as a GPU. */
  readonly gpuOnly: boolean;
  /** A key of the bundle's `precisions`. */
  readonly precision: string;
  /** The device's number, for providers that number their devices. */
  readonly device: number;
  /** The number of intra-op threads of each session. */
  readonly threads: number;
  /** The number of images of the largest batch, which the warm-up runs. */
  readonly maxBatch: number;
  /** The number of clients' concept words whose embeddings are cached. */
  readonly conceptCacheSize: number;
  /** The time between two heartbeats of an idle process. */
  readonly heartbeatMs: number;
}

export interface BatchCommand {
  readonly type: 'batch';
  readonly batchId: number;
  readonly items: readonly WorkItem[];
}

/** Says that an item of a batch is no longer wanted. The batch may have begun already. */
export interface DropCommand {
  readonly type: 'drop';
  readonly batchId: number;
  /** The item's index in the batch. */
  readonly index: number;
}

export type MessageToWorker = LoadCommand | BatchCommand | DropCommand;

export type MessageFromWorker =
  /** The bundle is loaded and warm. `warmUpMs` are the times of one image and of the largest batch. */
  | {
      readonly type: 'ready';
      readonly warmUpMs: { readonly single: number; readonly largest: number };
      readonly placement: Placement;
    }
  /** Loading failed in a way that another attempt will not mend. */
  | { readonly type: 'refused'; readonly message: string }
  /** The event loop still turns. */
  | { readonly type: 'heartbeat' }
  /** The batch begins. A crash from now on is attributed to it. */
  | { readonly type: 'started'; readonly batchId: number }
  /** The batch has ended: one answer for each item, in the batch's order. */
  | { readonly type: 'answers'; readonly batchId: number; readonly answers: readonly ItemAnswer[] };

/** Checks only the type of a message, because both ends run the same program. */
export function isMessageToWorker(value: unknown): value is MessageToWorker {
  return hasType(value) && ['load', 'batch', 'drop'].some((type) => type === value.type);
}

export function isMessageFromWorker(value: unknown): value is MessageFromWorker {
  const types = ['ready', 'refused', 'heartbeat', 'started', 'answers'];
  return hasType(value) && types.some((type) => type === value.type);
}

function hasType(value: unknown): value is { type: unknown } {
  return typeof value === 'object' && value !== null && 'type' in value;
}
