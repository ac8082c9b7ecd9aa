import type { BundleFacts } from '../inference/bundle.js';
import type {
  CaptionItem,
  CaptionOutcome,
  Placement,
  ScoreItem,
  ScoreOutcome,
  WorkItem,
  WorkOutcome,
} from '../inference/messages.js';

/** A bundle and how it is run. */
export interface ServedModel {
  readonly bundle: BundleFacts;
  /** Execution provider of ONNX Runtime. */
  readonly provider: string;
  /** Device numbers of the provider, one inference process each; none on CPUs. */
  readonly devices: readonly number[];
  /** The execution provider of each graph: some are faster on the CPU than on the provider. */
  readonly placement: Placement;
  readonly precision: string;
  /** When it began to serve, in Unix milliseconds. */
  readonly servingSince: number;
}

/** `single`: somebody waits for this one image; `batch`: one of many, served when no single image waits. */
export type Priority = 'single' | 'batch';

export interface RunRequest {
  readonly priority: Priority;
  /** Aborted at the deadline, or when the client has gone: the image is dropped. */
  readonly signal: AbortSignal;
}

export interface Answered<Outcome = WorkOutcome> {
  readonly outcome: Outcome;
  /** Milliseconds the image waited for an inference process. */
  readonly queueMs: number;
}

/** A model that images can be run through. */
export interface Model extends ServedModel {
  /**
   * Waits for an inference process and runs one image. The caller holds a permit for it.
   *
   * @throws ServiceError image_crashes_model | invalid_option | internal | draining; queue_full when the client's own
   *   concepts or texts cost more slots than are left; the signal's reason when it is aborted
   */
  run(item: CaptionItem, request: RunRequest): Promise<Answered<CaptionOutcome>>;
  run(item: ScoreItem, request: RunRequest): Promise<Answered<ScoreOutcome>>;
  run(item: WorkItem, request: RunRequest): Promise<Answered>;
}
