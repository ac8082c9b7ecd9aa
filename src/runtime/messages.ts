/**
 * What crosses the boundary between the serving process and an inference process.
 * Everything here survives the structured clone of `child_process.fork({ serialization: 'advanced' })`.
 */

/** What a client may ask of one caption; the ranges are checked where the request is read. */
export interface CaptionOptions {
  /** How many captions are returned, at most; fewer when beams end in the same sentence. */
  readonly candidates: number;
  /** Beams of the search, at least `candidates`. */
  readonly beamSize: number;
  /** Words of a caption, at most. */
  readonly maxLength: number;
  /** The client's own concept words; empty means the bundle's vocabulary. */
  readonly concepts: readonly string[];
  /** Whether `concepts` take the place of the bundle's vocabulary or are added to it. */
  readonly conceptsMode: 'replace' | 'extend';
  /** Single words that never appear in a caption, their plurals included. */
  readonly avoidWords: readonly string[];
  /** Write "person" and "child" where the model would name a gender. */
  readonly genderNeutral: boolean;
  /** Whether `DetectedConcept.patches` and `CaptionOutcome.gridSize` are wanted. */
  readonly explain: boolean;
}

/** One image to caption. */
export interface CaptionItem {
  readonly kind: 'caption';
  /** [H, W, 3], row-major sRGB, of exactly the bundle's image size. */
  readonly pixels: Uint8Array;
  readonly options: CaptionOptions;
}

/** One image, and texts to compare it with. */
export interface ScoreItem {
  readonly kind: 'score';
  /** [H, W, 3], row-major sRGB, of exactly the bundle's image size. */
  readonly pixels: Uint8Array;
  /** At least one. */
  readonly texts: readonly string[];
}

/** Work for an inference process. */
export type WorkItem = CaptionItem | ScoreItem;

export interface Candidate {
  /** A sentence with a capital letter and no full stop. */
  readonly text: string;
  /** Calibrated probability, 0…1; its meaning is the bundle's calibration. */
  readonly confidence: number;
  /** 2.5 · max(cos, 0) of caption and image (Hessel et al. 2021), 0…2.5. */
  readonly clipScore: number;
  /** Sum of natural logarithms of the token probabilities, end of sentence included. */
  readonly logProb: number;
  /** `logProb` divided by the number of tokens, end of sentence included. */
  readonly meanLogProb: number;
}

export interface DetectedConcept {
  readonly word: string;
  /** Share in the detection softmax, 0…1. */
  readonly score: number;
  /** Cosine of each patch with the concept, [rows · columns], row-major; only with `explain`. */
  readonly patches?: readonly number[];
}

export interface GridSize {
  readonly rows: number;
  readonly columns: number;
}

/** Milliseconds each stage took for the batch this image was in. */
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
  readonly gridSize?: GridSize;
  readonly timing: StageTiming;
}

export interface TextScore {
  /** Cosine of the text's and the image's embedding. */
  readonly cosine: number;
  /** 2.5 · max(cos, 0), 0…2.5. */
  readonly clipScore: number;
  /** Probability that the text belongs to this photo and not to a random other one, prior 0.5; only with a calibration. */
  readonly matchProbability?: number;
  /** The text has more tokens than the text encoder takes, and its end was not read. */
  readonly isCut: boolean;
}

export interface ScoreOutcome {
  /** One for each text, in order. */
  readonly scores: readonly TextScore[];
  readonly timing: Pick<StageTiming, 'encodeMs' | 'scoreMs'>;
}

export type WorkOutcome = CaptionOutcome | ScoreOutcome;

/** The answer to one item of a batch. A failed item fails alone; `message` is for the log, never for a client. */
export type ItemAnswer<Outcome = WorkOutcome> =
  | { readonly ok: true; readonly outcome: Outcome }
  | { readonly ok: false; readonly code: ItemErrorCode; readonly message: string };

/** Codes of API.md that an inference process can give a single item. */
export type ItemErrorCode = 'invalid_option' | 'internal';

/** The execution provider of ONNX Runtime that each graph of the bundle runs on. */
export interface Placement {
  readonly encoder: string;
  readonly mixup: string;
  readonly decoder: string;
  readonly textEncoder: string;
}

/** Everything an inference process needs to know; its first message. */
export interface LoadOrder {
  readonly type: 'load';
  /** Folder of the bundle, absolute. */
  readonly bundlePath: string;
  /** `digest` of the bundle that is expected there; left out, any is loaded. */
  readonly bundleDigest?: string;
  /** Execution provider of ONNX Runtime: `cpu`, `cuda`, … */
  readonly provider: string;
  /** Refuse a software renderer that calls itself a GPU. */
  readonly gpuOnly: boolean;
  /** Key of the bundle's `precisions`. */
  readonly precision: string;
  /** Device number, for providers that have several. */
  readonly device: number;
  /** Intra-op threads of each session. */
  readonly threads: number;
  /** Images of the largest batch, which the warm-up runs. */
  readonly maxBatch: number;
  /** Concept words of clients whose embeddings are kept. */
  readonly conceptCacheSize: number;
  /** Milliseconds between heartbeats of an idle process. */
  readonly heartbeatMs: number;
}

export interface BatchOrder {
  readonly type: 'batch';
  readonly batchId: number;
  readonly items: readonly WorkItem[];
}

/** Nobody waits any more for an item of a batch that may not have begun. */
export interface DropOrder {
  readonly type: 'drop';
  readonly batchId: number;
  /** Its place in the batch. */
  readonly index: number;
}

export type MessageToWorker = LoadOrder | BatchOrder | DropOrder;

export type MessageFromWorker =
  /** Loaded and warm. `warmUpMs`: a second run of one image, and of the largest batch. */
  | {
      readonly type: 'ready';
      readonly warmUpMs: { readonly single: number; readonly largest: number };
      readonly placement: Placement;
    }
  /** Loading failed in a way that trying again will not mend. */
  | { readonly type: 'refused'; readonly message: string }
  | { readonly type: 'heartbeat' }
  /** From here on, the batch is what a crash is put down to. */
  | { readonly type: 'started'; readonly batchId: number }
  /** One answer for each item, in the batch's order. */
  | { readonly type: 'answers'; readonly batchId: number; readonly answers: readonly ItemAnswer[] };

/** Both ends run the same program, so the kind of a message is all that needs telling apart. */
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
