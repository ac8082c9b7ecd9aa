import { Type } from 'typebox';
import { Compile } from 'typebox/compile';

/** The cheapest caption there is: what is tortured is the way to the model and back. */
export const cheapest = { candidates: 1, beamSize: 1, maxLength: 6 };
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

export function replyOf(status: number, answer: unknown): Reply {
  if (status === 200 && captionOf.Check(answer))
    return { status, outcome: '200', caption: captionOf.Parse(answer) };
  const code = problemOf.Check(answer) ? answer.code : 'no problem document';
  return { status, outcome: `${status} ${code}` };
}

/** Batches change figures in the fourth digit at most. */
export function isOwn({ caption }: Reply, own: OwnCaption | undefined): boolean {
  if (caption === undefined || own === undefined) return false;
  const differences = [caption.logProb - own.logProb, caption.clipScore - own.clipScore];
  return caption.caption === own.caption && differences.every((difference) => Math.abs(difference) <= 1e-3);
}
