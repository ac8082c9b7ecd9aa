import type { DecodeLimits } from '../../src/images/limits.js';
import type { ModelOptions, LoadCommand, StageTiming } from '../../src/inference/messages.js';

/** What crosses between the bench and its bare processes. */
export interface BareLoadCommand {
  readonly type: 'load';
  readonly command: LoadCommand;
  readonly options: ModelOptions;
  readonly limits: DecodeLimits;
  /** Images decoded side by side. */
  readonly decoders: number;
  /** Paths of JPEG files. */
  readonly photos: readonly string[];
}

export type MessageToBare =
  | BareLoadCommand
  /** Batches one after the other, the next one decoded meanwhile, until `stop`. */
  | { readonly type: 'batches'; readonly batchSize: number; readonly leastMs: number }
  | { readonly type: 'stop' }
  /** Single images, each decoded and captioned before the next. */
  | { readonly type: 'singles'; readonly leastMs: number };

/** Milliseconds of one batch, or of one image. */
export interface BareTiming extends StageTiming {
  readonly decodeMs: number;
}

export type MessageFromBare =
  | { readonly type: 'loaded' }
  /** It has run long enough, and goes on so that other processes are not measured without it. */
  | { readonly type: 'enough' }
  | { readonly type: 'batches'; readonly imagesPerSecond: number; readonly timings: readonly BareTiming[] }
  | { readonly type: 'singles'; readonly timings: readonly BareTiming[] };

export type MessageFromBareOf<T extends MessageFromBare['type']> = Extract<MessageFromBare, { type: T }>;

/** Both ends run the same program, so the kind of a message is all that needs telling apart. */
export function isMessageToBare(value: unknown): value is MessageToBare {
  return isOneOf(value, ['load', 'batches', 'stop', 'singles']);
}

export function isMessageFromBare<T extends MessageFromBare['type']>(
  value: unknown,
  type: T,
): value is MessageFromBareOf<T> {
  return isOneOf(value, [type]);
}

function isOneOf(value: unknown, types: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null || !('type' in value)) return false;
  return types.some((type) => type === value.type);
}
