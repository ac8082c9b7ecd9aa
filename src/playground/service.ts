import type { CaptionResult, ScoreResult } from '../captioner/results.js';
import type { Problem } from '../http/problem-details.js';

/** Option names and values as form fields; lists repeat their name. */
export type OptionFields = readonly (readonly [name: string, value: string])[];

/** What the page shows of a problem document, or of an answer that is none. */
export type ShownProblem = Pick<Problem, 'title' | 'detail'> &
  Partial<Pick<Problem, 'code' | 'requestId'>> & {
    /** Whether the same request may be answered another time. */
    readonly mayPass: boolean;
    readonly retryAfterSeconds?: number;
  };

export type Answer<T> = { readonly result: T } | { readonly problem: ShownProblem };

export interface ServedModel {
  readonly id: string;
  readonly version: string;
  readonly resize: 'stretch' | 'crop';
  /** Words of its longest caption. */
  readonly maxLength: number | undefined;
}

/** Where the service lies; relative, so that a proxy may serve it under a path. */
export const captionsUrl = new URL('v1/captions', document.baseURI);

/** Sends one photo. Never rejects, except when `signal` aborts. */
export function requestCaption(
  file: File,
  fields: OptionFields,
  apiKey: string,
  signal: AbortSignal,
): Promise<Answer<CaptionResult>> {
  const form = formOf([...fields, ['explain', 'true']], file);
  return request(captionsUrl, { body: form, headers: authorization(apiKey), signal }, isResult);
}

/** Asks how well a text fits a photo. Never rejects. */
export function requestScore(file: File, text: string, apiKey: string): Promise<Answer<ScoreResult>> {
  const form = formOf([['texts', text]], file);
  const url = new URL('v1/scores', document.baseURI);
  return request(url, { body: form, headers: authorization(apiKey) }, isScore);
}

/** Embeds a photo or a text as a unit vector. Never rejects. */
export async function requestEmbedding(input: File | string, apiKey: string): Promise<Answer<number[]>> {
  const url = new URL('v1/embeddings', document.baseURI);
  const one = typeof input === 'string' ? { text: input } : { image: await base64Of(input) };
  const headers = { ...authorization(apiKey), 'content-type': 'application/json' };
  const answer = await request(url, { body: JSON.stringify({ input: [one] }), headers }, isEmbeddings);
  return 'problem' in answer ? answer : { result: answer.result.data[0]?.embedding ?? [] };
}

function formOf(fields: OptionFields, file: File): FormData {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  form.append('image', file);
  return form;
}

async function request<T>(
  url: URL,
  init: RequestInit,
  isWanted: (body: unknown) => body is T,
): Promise<Answer<T>> {
  const { signal } = init;
  let response: Response;
  try {
    response = await fetch(url, { method: 'POST', ...init });
  } catch {
    signal?.throwIfAborted();
    return {
      problem: {
        title: 'The photo could not be sent',
        detail: 'The service does not answer, or the file can no longer be read.',
        mayPass: true,
      },
    };
  }
  const body = await jsonOf(response);
  signal?.throwIfAborted();
  return response.ok && isWanted(body) ? { result: body } : { problem: problemOf(body, response) };
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
    const { id, version, image, maxLength } = model;
    if (typeof id !== 'string' || typeof version !== 'string') return undefined;
    return {
      id,
      version,
      resize: isObject(image) && image['resize'] === 'crop' ? 'crop' : 'stretch',
      maxLength: typeof maxLength === 'number' ? maxLength : undefined,
    };
  } catch {
    return undefined;
  }
}

function authorization(apiKey: string): Record<string, string> {
  // A header takes Latin-1 alone; what is no key must not stop the request from being made.
  return /^[\x21-\x7e]+$/.test(apiKey) ? { authorization: `Bearer ${apiKey}` } : {};
}

function base64Of(file: File): Promise<string> {
  return new Promise((resolve) => {
    const reader = new FileReader();
    // A file that cannot be read is an image that cannot: the service says so.
    reader.onloadend = () => {
      resolve(typeof reader.result === 'string' ? reader.result.slice(reader.result.indexOf(',') + 1) : '');
    };
    reader.readAsDataURL(file);
  });
}

async function jsonOf(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    return undefined;
  }
}

/** A proxy in between may answer with a page of its own. */
function problemOf(body: unknown, { status, headers }: Response): ShownProblem {
  const text = (name: string): string | undefined => {
    const value = isObject(body) ? body[name] : undefined;
    return typeof value === 'string' ? value : undefined;
  };
  const code = text('code');
  const requestId = text('requestId');
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  return {
    title: text('title') ?? `The answer was ${status}`,
    detail: text('detail') ?? 'It did not come in the form this page understands.',
    // Otherwise the file or the request is at fault, and stays so.
    mayPass: status === 408 || status === 429 || (status >= 500 && code !== 'image_crashes_model'),
    ...(code !== undefined && { code }),
    ...(requestId !== undefined && { requestId }),
    ...(seconds > 0 && { retryAfterSeconds: seconds }),
  };
}

function isResult(body: unknown): body is CaptionResult {
  return isObject(body) && Array.isArray(body['captions']) && Array.isArray(body['concepts']);
}

function isScore(body: unknown): body is ScoreResult {
  return isObject(body) && Array.isArray(body['scores']);
}

function isEmbeddings(body: unknown): body is { data: { embedding: number[] }[] } {
  return isObject(body) && Array.isArray(body['data']);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
