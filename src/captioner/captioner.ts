import type { ImageDecoder } from '../images/decode-pool.js';
import type { Region } from '../images/decode.js';
import type { FetchImage } from '../images/fetch-image.js';
import type {
  Candidate,
  CaptionOutcome,
  ScoreOutcome,
  WorkItem,
  WorkOutcome,
} from '../inference/messages.js';
import type { Answered, Model, Priority, RunRequest } from '../scheduler/model.js';
import type { Permit } from '../scheduler/permit.js';
import type { ResultCache } from '../scheduler/result-cache.js';
import { answerKey, type ImageAnswer, type Question } from './cached-answer.js';
import { type ImageSource, readBytes } from './image-source.js';
import type { CaptionOptions } from './options.js';
import { dropDuplicates, proposeRegions, wholeImage } from './regions.js';
import type { CaptionResult, ScoreResult } from './results.js';

/** What a request brings along from its admission to its answer. */
export interface RequestContext {
  /** One slot of the queue of the model that serves it, which stays loaded meanwhile. Held and released by the caller. */
  readonly permit: Permit;
  readonly priority: Priority;
  /** Aborted when the client has gone, or at the deadline with the ServiceError that says so. */
  readonly signal: AbortSignal;
  /**
   * Who asks: the API key, where there are keys. Results are shared among the requests of one client only, as an answer that
   * comes at once would tell that somebody has sent the same image.
   */
  readonly client: string;
  /** When the request was admitted, in the milliseconds of `performance.now()`. */
  readonly startedAt: number;
}

/** A region of an image and what is said of it. */
export interface CaptionedRegion {
  readonly region: Region;
  readonly result: CaptionResult;
}

export interface RegionsResult {
  readonly whole: CaptionResult;
  /** Most confident first; none that says what another says of about the same region. */
  readonly regions: readonly CaptionedRegion[];
}

/** Is told of each stage of an image as it ends; the times are those of `performance.now()`. */
export type OnStage = (stage: string, startMs: number, endMs: number) => void;

export interface CaptionerDeps {
  readonly decoder: Pick<ImageDecoder, 'decode'>;
  /** Absent where images may not be given by URL. */
  readonly fetchImage?: FetchImage | undefined;
  /** Bytes of an image that is fetched, at most; the caller bounds what it is sent. */
  readonly maxFetchedBytes: number;
  /** Absent where every image is a run of the model. */
  readonly cache?: ResultCache<ImageAnswer> | undefined;
  /** Absent where nobody traces requests. */
  readonly onStage?: OnStage | undefined;
}

/** What the product does with an image, whoever asks and however. */
export interface Captioner {
  /**
   * Writes a caption with its confidence, other candidates, and the concepts that were detected.
   *
   * @throws ServiceError of reading, decoding and running the image; the reason of the context's signal
   */
  caption(source: ImageSource, options: CaptionOptions, context: RequestContext): Promise<CaptionResult>;
  /** Says how well texts fit an image. Throws what `caption` throws. */
  score(source: ImageSource, texts: readonly string[], context: RequestContext): Promise<ScoreResult>;
  /**
   * Captions the image, and regions of it that show something. Each caption needs a permit: the first context is that of the
   * image, and each other one allows for a region.
   *
   * @throws what `caption` throws
   */
  captionRegions(
    source: ImageSource,
    options: CaptionOptions,
    contexts: readonly [RequestContext, ...RequestContext[]],
  ): Promise<RegionsResult>;
  /** Embeds an image as a unit vector of the space that it shares with texts. Throws what `caption` throws. */
  embedImage(source: ImageSource, context: RequestContext): Promise<Float32Array>;
  /**
   * Embeds texts, at least one, as unit vectors in order.
   *
   * @throws ServiceError of running the model; the reason of the context's signal
   */
  embedTexts(texts: readonly string[], context: RequestContext): Promise<readonly Float32Array[]>;
}

type TimedAnswer = ImageAnswer & { readonly cached: boolean };

export function createCaptioner({
  decoder,
  fetchImage,
  maxFetchedBytes,
  cache,
  onStage,
}: CaptionerDeps): Captioner {
  /** Waits for the model and runs it; one stage follows the other. */
  async function runModel(model: Model, item: WorkItem, request: RunRequest): Promise<Answered> {
    let at = performance.now();
    try {
      const answer = await model.run(item, request);
      const times: Readonly<Record<string, number>> = { queueMs: answer.queueMs, ...answer.outcome.timing };
      for (const [name, ms] of Object.entries(times)) onStage?.(name.replace(/Ms$/, ''), at, (at += ms));
      return answer;
    } catch (error) {
      onStage?.('queue', at, performance.now());
      throw error;
    }
  }

  /** Bytes → pixels → the model's answer, or the answer to an identical request. */
  async function answer(
    source: ImageSource,
    question: Question,
    { permit, priority, signal, client }: RequestContext,
  ): Promise<TimedAnswer> {
    const { model } = permit;
    const bytes = await readBytes(source, { fetchImage, maxBytes: maxFetchedBytes }, signal);

    async function run(runSignal: AbortSignal): Promise<ImageAnswer> {
      const decodingSince = performance.now();
      const request = { priority, signal: runSignal };
      const region = question.kind === 'caption' ? question.region : undefined;
      const target = { ...model.bundle.image, ...(region !== undefined && { region }) };
      const { pixels, ...image } = await decoder.decode(bytes, target, request).finally(() => {
        onStage?.('decode', decodingSince, performance.now());
      });
      const decodeMs = performance.now() - decodingSince;
      return { ...(await runModel(model, { ...question, pixels }, request)), image, decodeMs };
    }

    if (cache === undefined) return { ...(await run(signal)), cached: false };
    // An engine stays until its permits are released: those who share a run must all hold permits of its engine.
    const request = { priority, signal, scope: String(model.servingSince) };
    const { result, cached, waitedMs } = await cache.find(
      answerKey(model, client, bytes, question),
      request,
      run,
    );
    return cached ? { ...result, decodeMs: 0, queueMs: waitedMs, cached } : { ...result, cached };
  }

  async function caption(
    source: ImageSource,
    { minConfidence, ...options }: CaptionOptions,
    context: RequestContext,
    region?: Region,
  ): Promise<CaptionResult> {
    const question = { kind: 'caption', options, ...(region !== undefined && { region }) } as const;
    const found = await answer(source, question, context);
    const { candidates, concepts, tags, gridSize, timing } = captionOf(found.outcome);
    const captions = candidates.map(({ text, ...scores }) => ({ text, ...roundScores(scores) }));
    const { text, ...scores } = firstOf(captions);
    const stage = stageOf(found);
    return {
      caption: scores.confidence < minConfidence ? null : text,
      ...scores,
      captions,
      concepts: concepts.map(({ word, score, patches }) => ({
        word,
        share: round(score, 6),
        score: round(score, 6),
        ...(patches !== undefined && { patches: patches.map((cosine) => round(cosine, 6)) }),
      })),
      ...(tags !== undefined && {
        tags: tags.map(({ word, probability }) => ({ word, probability: round(probability, 6) })),
      }),
      ...(gridSize !== undefined && { gridSize }),
      image: found.image,
      model: nameOf(context),
      timing: {
        ...timingOf(found),
        encodeMs: stage(timing.encodeMs),
        mixupMs: stage(timing.mixupMs),
        captionMs: stage(timing.captionMs),
        scoreMs: stage(timing.scoreMs),
        totalMs: totalOf(context),
        cached: found.cached,
      },
    };
  }

  return {
    caption: (source, options, context) => caption(source, options, context),

    async score(source, texts, context) {
      const found = await answer(source, { kind: 'score', texts }, context);
      const { scores, timing } = scoresOf(found.outcome);
      const stage = stageOf(found);
      return {
        scores: scores.map(({ cosine, clipScore, matchProbability, isTruncated }, index) => ({
          text: texts[index] ?? '',
          cosine: round(cosine, 6),
          clipScore: round(clipScore, 6),
          matchProbability: matchProbability === undefined ? null : round(matchProbability, 6),
          truncated: isTruncated,
        })),
        image: found.image,
        model: nameOf(context),
        timing: {
          ...timingOf(found),
          encodeMs: stage(timing.encodeMs),
          scoreMs: stage(timing.scoreMs),
          totalMs: totalOf(context),
          cached: found.cached,
        },
      };
    },

    async captionRegions(source, options, [context, ...others]) {
      // Each caption reads the bytes, and only the first one should fetch them.
      const limits = { fetchImage, maxBytes: maxFetchedBytes };
      const bytes = { kind: 'bytes', bytes: await readBytes(source, limits, context.signal) } as const;
      const { gridSize, ...whole } = await caption(bytes, { ...options, explain: true }, context);
      const regions = gridSize === undefined ? [] : proposeRegions(whole.concepts, gridSize);
      const captioned = await Promise.all(
        others.slice(0, regions.length).map(async (own, index) => {
          const region = regions[index] ?? wholeImage;
          return { region, result: await caption(bytes, { ...options, explain: false }, own, region) };
        }),
      );
      return { whole, regions: dropDuplicates(captioned) };
    },

    async embedImage(source, context) {
      const { outcome } = await answer(source, { kind: 'embed-image' }, context);
      return firstOf(embeddingsOf(outcome));
    },

    async embedTexts(texts, { permit, priority, signal }) {
      const { outcome } = await runModel(permit.model, { kind: 'embed-texts', texts }, { priority, signal });
      return embeddingsOf(outcome);
    },
  };
}

/** Milliseconds of a stage of the model: none of an answer that was made for another request. */
function stageOf({ cached }: TimedAnswer): (ms: number) => number {
  return (ms) => (cached ? 0 : round(ms, 2));
}

function timingOf({ queueMs, decodeMs }: TimedAnswer): { queueMs: number; decodeMs: number } {
  return { queueMs: round(queueMs, 2), decodeMs: round(decodeMs, 2) };
}

function totalOf({ startedAt }: RequestContext): number {
  return round(performance.now() - startedAt, 2);
}

function nameOf({ permit }: RequestContext): { id: string; version: string } {
  const { id, version } = permit.model.bundle;
  return { id, version };
}

type Scores = Omit<Candidate, 'text'>;

function roundScores({ confidence, clipScore, logProb, meanLogProb }: Scores): Scores {
  return {
    confidence: round(confidence, 6),
    clipScore: round(clipScore, 6),
    logProb: round(logProb, 6),
    meanLogProb: round(meanLogProb, 6),
  };
}

function captionOf(outcome: WorkOutcome): CaptionOutcome {
  if ('candidates' in outcome) return outcome;
  throw new Error('an image to caption was answered with something else');
}

function scoresOf(outcome: WorkOutcome): ScoreOutcome {
  if ('scores' in outcome) return outcome;
  throw new Error('an image to score was answered with something else');
}

function embeddingsOf(outcome: WorkOutcome): readonly Float32Array[] {
  if ('embeddings' in outcome) return outcome.embeddings;
  throw new Error('what was to be embedded was answered with something else');
}

function firstOf<T>([first]: readonly T[]): T {
  if (first === undefined) throw new Error('the model returned nothing');
  return first;
}

/** More digits than the model's arithmetic holds, or a clock measures, only suggest a precision that is not there. */
function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
