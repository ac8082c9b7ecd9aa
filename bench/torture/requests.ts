import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { BenchError } from '../figures/figure.js';

/** The cheapest caption there is: what is tortured is the way to the model and back. */
const cheapest = { candidates: 1, beamSize: 1, maxLength: 6 };
const cheapestQuery = new URLSearchParams(
  Object.entries(cheapest).map(([name, value]): [string, string] => [name, String(value)]),
).toString();

const captionOf = Compile(
  Type.Object({
    caption: Type.String(),
    logProb: Type.Number(),
    clipScore: Type.Number(),
  }),
);
const problemOf = Compile(Type.Object({ code: Type.String() }));

/** Longer than any request may take by `REQUEST_TIMEOUT_MS` here, and shorter than `fetch` waits by itself. */
const longestWaitMs = 280_000;

export interface Reply {
  /** `200`, the status and code of the problem, or that no answer came. */
  readonly outcome: string;
  readonly caption?: OwnCaption;
}

/** What tells a photo's caption from that of any other. */
export interface OwnCaption {
  readonly caption: string;
  readonly logProb: number;
  readonly clipScore: number;
}

export interface PostOptions {
  readonly id?: string;
  /** With which the client leaves. */
  readonly signal?: AbortSignal;
  readonly waitMs?: number;
}

/** Posts an image as the body, or in a form. Throws when the client leaves. */
export async function postImage(
  url: string,
  image: Buffer,
  way: 'body' | 'form',
  { id, ...options }: PostOptions = {},
): Promise<Reply> {
  let body: Buffer | FormData = image;
  if (way === 'form') {
    body = new FormData();
    body.append('image', new Blob([new Uint8Array(image)]), 'photo');
  }
  const headers = {
    ...(way === 'body' && { 'content-type': 'image/unknown' }),
    ...(id !== undefined && { 'x-request-id': id }),
  };
  const answer = await post(`${url}/v1/captions?${cheapestQuery}`, { headers, body }, options);
  return typeof answer === 'string' ? { outcome: answer } : replyOf(answer.status, parsed(answer.text));
}

interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly text: string;
}

/** @returns the whole answer, or in words that none came */
async function post(
  url: string,
  init: RequestInit,
  { signal, waitMs = longestWaitMs }: PostOptions,
): Promise<Answer | string> {
  const late = AbortSignal.timeout(waitMs);
  const signals = signal === undefined ? [late] : [late, signal];
  try {
    const response = await fetch(url, { method: 'POST', ...init, signal: AbortSignal.any(signals) });
    const { status, headers } = response;
    return { status, type: headers.get('content-type'), text: await response.text() };
  } catch (error) {
    if (signal?.aborted === true) throw error;
    return late.aborted ? `no answer in ${waitMs / 1000} s` : `no answer: ${causeOf(error)}`;
  }
}

function causeOf(error: unknown): string {
  const { cause } = error instanceof Error ? error : {};
  return cause instanceof Error ? cause.message : String(error);
}

/**
 * What each photo is answered when nothing is wrong.
 * @throws BenchError when one gets no caption
 */
export async function ownCaptions(url: string, photos: readonly Buffer[]): Promise<OwnCaption[]> {
  const own: OwnCaption[] = [];
  for (const photo of photos) {
    const { caption, outcome } = await postImage(url, photo, 'form');
    if (caption === undefined) throw new BenchError(`a good photo is answered ${outcome}`);
    own.push(caption);
  }
  return own;
}

/** Undefined when it is no JSON: then it is none of the answers that there are. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function replyOf(status: number, answer: unknown): Reply {
  if (status === 200 && captionOf.Check(answer)) return { outcome: '200', caption: captionOf.Parse(answer) };
  const code = problemOf.Check(answer) ? answer.code : 'no problem document';
  return { outcome: `${status} ${code}` };
}

const resultsOf = Compile(
  Type.Object({
    results: Type.Array(
      Type.Object({
        index: Type.Integer(),
        result: Type.Optional(Type.Unknown()),
        error: Type.Optional(Type.Object({ status: Type.Integer() })),
      }),
    ),
  }),
);

/**
 * Posts images as a batch of JSON, answered in one go or line by line.
 * @returns a reply for each image, in order; or the one that refuses the whole batch
 */
export async function postBatch(
  url: string,
  images: readonly Buffer[],
  accept: 'application/json' | 'application/x-ndjson',
  id: string,
): Promise<Reply[]> {
  const body = JSON.stringify({
    ...cheapest,
    images: images.map((image) => ({ image: image.toString('base64') })),
  });
  const headers = { 'content-type': 'application/json', accept, 'x-request-id': id };
  const whole = await post(`${url}/v1/captions/batch`, { headers, body }, {});
  if (typeof whole === 'string') return [{ outcome: whole }];
  const { status, type, text } = whole;
  const answer: unknown = type?.startsWith('application/x-ndjson')
    ? {
        results: text.trim().split('\n').map(parsed),
      }
    : parsed(text);
  if (!resultsOf.Check(answer)) return [replyOf(status, answer)];
  const entries = answer.results.toSorted((a, b) => a.index - b.index);
  if (entries.some(({ index }, place) => index !== place) || entries.length !== images.length) {
    return [{ outcome: 'entries that are missing or come twice' }];
  }
  return entries.map(({ result, error }) => replyOf(error?.status ?? 200, error ?? result));
}

/** Batches change figures in the fourth digit at most. */
export function isOwn({ caption }: Reply, own: OwnCaption | undefined): boolean {
  if (caption === undefined || own === undefined) return false;
  const differences = [caption.logProb - own.logProb, caption.clipScore - own.clipScore];
  return caption.caption === own.caption && differences.every((difference) => Math.abs(difference) <= 1e-3);
}
