import type { TestContext } from 'node:test';
import { answerSize } from '../../src/captioner/cached-answer.js';
import { type Captioner, createCaptioner, type RequestContext } from '../../src/captioner/captioner.js';
import { type CaptionOptions, parseCaptionOptions } from '../../src/captioner/options.js';
import type { CaptionResult, ScoreResult } from '../../src/captioner/results.js';
import type { DecodeRequest, ImageDecoder } from '../../src/images/decode-pool.js';
import { dropReasonOf } from '../../src/scheduler/metrics.js';
import { ResultCache } from '../../src/scheduler/result-cache.js';
import { fates } from '../scheduler/fates.js';
import {
  type AdmitOptions,
  contextOf,
  startTestEngine,
  type TestEngine,
  type TestEngineOptions,
} from '../scheduler/test-engine.js';
import { abortable } from '../../src/promises.js';

/** An image file of which the fake decoder makes the pixels that the fake worker does this with. */
export function file(number: number, fate: keyof typeof fates = 'caption'): Buffer {
  return Buffer.of(fates[fate], number);
}

/** All options of a caption, one candidate unless they say otherwise. */
export function optionsOf(options: Partial<CaptionOptions> = {}): CaptionOptions {
  return { ...parseCaptionOptions({ texts: [], members: { candidates: 1 } }, 20), ...options };
}

export interface FakeDecoder extends Pick<ImageDecoder, 'decode'> {
  /** Every image that was to be decoded. */
  readonly requests: DecodeRequest[];
  /** Images are decoded when this resolves; at once, if it is left out. */
  until: Promise<unknown> | undefined;
}

/** Takes the bytes of a file for its pixels. */
export function createFakeDecoder(): FakeDecoder {
  const requests: DecodeRequest[] = [];
  return {
    requests,
    until: undefined,
    async decode(bytes, _target, request) {
      requests.push(request);
      if (this.until !== undefined) await abortable(this.until, request.signal);
      return { pixels: Uint8Array.from(bytes), width: 640, height: 480, format: 'jpeg' };
    },
  };
}

export interface TestCaptioner extends TestEngine {
  readonly captioner: Captioner;
  readonly decoder: FakeDecoder;
  /** Admits a request to caption one image. */
  readonly ask: (
    bytes: Buffer,
    options?: Partial<CaptionOptions>,
    admission?: AdmitOptions,
  ) => Promise<CaptionResult>;
  readonly askScore: (bytes: Buffer, texts: readonly string[]) => Promise<ScoreResult>;
}

/** A captioner over a fake decoder and fake workers, joined as the service joins them. */
export async function startTestCaptioner(
  t: TestContext,
  { cacheSize = 0, ...options }: TestEngineOptions & { readonly cacheSize?: number } = {},
): Promise<TestCaptioner> {
  const engine = await startTestEngine(t, options);
  const { scheduler, registry } = engine;
  const decoder = createFakeDecoder();
  const cache =
    cacheSize === 0
      ? undefined
      : new ResultCache({
          maxSize: cacheSize,
          sizeOf: answerSize,
          onLeave: (signal) => {
            scheduler.metrics.dropped(dropReasonOf(signal), 1);
          },
          registry,
        });
  const captioner = createCaptioner({ decoder, maxFetchedBytes: 1000, cache });
  return {
    ...engine,
    captioner,
    decoder,
    ask: (bytes, asked, admission) =>
      withPermit(contextOf(scheduler, admission), (context) =>
        captioner.caption({ kind: 'bytes', bytes }, optionsOf(asked), context),
      ),
    askScore: (bytes, texts) =>
      withPermit(contextOf(scheduler), (context) =>
        captioner.score({ kind: 'bytes', bytes }, texts, context),
      ),
  };
}

/** Does something with an image, and releases its permit. */
export async function withPermit<T>(
  context: RequestContext,
  work: (context: RequestContext) => Promise<T>,
): Promise<T> {
  try {
    return await work(context);
  } finally {
    context.permit.release();
  }
}

/** The number of the image and the process that wrote its caption, as the fake worker tells. */
export function tellsOf({ captions: [first] }: CaptionResult): { number: number; pid: number } {
  const [number, , pid] = (first?.text ?? '').split(' ').map(Number);
  return { number: number ?? NaN, pid: pid ?? NaN };
}
