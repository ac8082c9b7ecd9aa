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

export interface Reply {
  readonly status: number;
  /** `200`, or the status and code of the problem. */
  readonly outcome: string;
  readonly caption?: OwnCaption;
}

/** What tells a photo's caption from that of any other. */
export interface OwnCaption {
  readonly caption: string;
  readonly logProb: number;
  readonly clipScore: number;
}

/** Posts an image as the body, or in a form. */
export async function postImage(
  url: string,
  image: Buffer,
  way: 'body' | 'form',
  { id, signal }: { readonly id?: string; readonly signal?: AbortSignal } = {},
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
  const init = { method: 'POST', headers, body, ...(signal !== undefined && { signal }) };
  const response = await fetch(`${url}/v1/captions?${cheapestQuery}`, init);
  return replyOf(response.status, await response.json());
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

function replyOf(status: number, answer: unknown): Reply {
  if (status === 200 && captionOf.Check(answer))
    return { status, outcome: '200', caption: captionOf.Parse(answer) };
  const code = problemOf.Check(answer) ? answer.code : 'no problem document';
  return { status, outcome: `${status} ${code}` };
}

const resultsOf = Compile(
  Type.Object({
    results: Type.Array(
      Type.Object({
        index: Type.Integer(),
        result: Type.Optional(Type.Unknown()),
        error: Type.Optional(Type.Unknown()),
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
  const response = await fetch(`${url}/v1/captions/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept, 'x-request-id': id },
    body: JSON.stringify({
      ...cheapest,
      images: images.map((image) => ({ image: image.toString('base64') })),
    }),
  });
  const text = await response.text();
  const isInLines = response.headers.get('content-type')?.startsWith('application/x-ndjson') === true;
  const answer: unknown = isInLines
    ? {
        results: text
          .trim()
          .split('\n')
          .map((line): unknown => JSON.parse(line)),
      }
    : JSON.parse(text);
  if (!resultsOf.Check(answer)) return [replyOf(response.status, answer)];
  const entries = answer.results.toSorted((a, b) => a.index - b.index);
  if (entries.some(({ index }, place) => index !== place) || entries.length !== images.length) {
    return [{ status: response.status, outcome: 'entries that are missing or come twice' }];
  }
  return entries.map(({ result, error }) => replyOf(result === undefined ? NaN : 200, result ?? error));
}

/** Batches change figures in the fourth digit at most. */
export function isOwn({ caption }: Reply, own: OwnCaption | undefined): boolean {
  if (caption === undefined || own === undefined) return false;
  const differences = [caption.logProb - own.logProb, caption.clipScore - own.clipScore];
  return caption.caption === own.caption && differences.every((difference) => Math.abs(difference) <= 1e-3);
}
