import type { CaptionResult } from '../captioner/results.js';
import type { Problem } from '../http/problem-details.js';

/** Option names and values as form fields; lists repeat their name. */
export type OptionFields = readonly (readonly [name: string, value: string])[];

/** What the page shows of a problem document, or of an answer that is none. */
export type ShownProblem = Pick<Problem, 'title' | 'detail'> & Partial<Pick<Problem, 'code' | 'requestId'>>;

export type Answer =
  | { readonly result: CaptionResult }
  | { readonly problem: ShownProblem; readonly retryAfterSeconds?: number };

export interface ServedModel {
  readonly id: string;
  readonly version: string;
  readonly resize: 'stretch' | 'crop';
}

/** Where the service lies; relative, so that a proxy may serve it under a path. */
export const captionsUrl = new URL('v1/captions', document.baseURI);

/** Sends one photo. Never rejects, except when `signal` aborts. */
export async function requestCaption(
  file: File,
  fields: OptionFields,
  apiKey: string,
  signal: AbortSignal,
): Promise<Answer> {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  form.append('explain', 'true');
  form.append('image', file);
  let response: Response;
  try {
    response = await fetch(captionsUrl, {
      method: 'POST',
      body: form,
      headers: authorization(apiKey),
      signal,
    });
  } catch {
    signal.throwIfAborted();
    return {
      problem: {
        title: 'The photo could not be sent',
        detail: 'The service does not answer, or the file can no longer be read.',
      },
    };
  }
  const body = await jsonOf(response);
  signal.throwIfAborted();
  if (response.ok && isResult(body)) return { result: body };
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  return { problem: problemOf(body, response), ...(seconds > 0 && { retryAfterSeconds: seconds }) };
}

/** Whether images are taken, or else why not; undefined when the service does not answer. */
export async function readiness(): Promise<{ ready: boolean; reason: string } | undefined> {
  try {
    const response = await fetch(new URL('readyz', document.baseURI));
    const { title, detail } = problemOf(await jsonOf(response), response);
    return response.ok ? { ready: true, reason: '' } : { ready: false, reason: detail || title };
  } catch {
    return undefined;
  }
}

/** The model that answers, if this key may know. */
export async function servedModel(apiKey: string): Promise<ServedModel | undefined> {
  try {
    const response = await fetch(new URL('v1/models', document.baseURI), { headers: authorization(apiKey) });
    const body = await jsonOf(response);
    const model: unknown = isObject(body) && Array.isArray(body['data']) ? body['data'][0] : undefined;
    if (!isObject(model)) return undefined;
    const { id, version, image } = model;
    if (typeof id !== 'string' || typeof version !== 'string') return undefined;
    return { id, version, resize: isObject(image) && image['resize'] === 'crop' ? 'crop' : 'stretch' };
  } catch {
    return undefined;
  }
}

function authorization(apiKey: string): Record<string, string> {
  // A header takes Latin-1 alone; what is no key must not stop the request from being made.
  return /^[\x21-\x7e]+$/.test(apiKey) ? { authorization: `Bearer ${apiKey}` } : {};
}

async function jsonOf(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    return undefined;
  }
}

/** A proxy in between may answer with a page of its own. */
function problemOf(body: unknown, { status }: Response): ShownProblem {
  const text = (name: string): string | undefined => {
    const value = isObject(body) ? body[name] : undefined;
    return typeof value === 'string' ? value : undefined;
  };
  const code = text('code');
  const requestId = text('requestId');
  return {
    title: text('title') ?? `The answer was ${status}`,
    detail: text('detail') ?? 'It did not come in the form this page understands.',
    ...(code !== undefined && { code }),
    ...(requestId !== undefined && { requestId }),
  };
}

function isResult(body: unknown): body is CaptionResult {
  return isObject(body) && Array.isArray(body['captions']) && Array.isArray(body['concepts']);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
