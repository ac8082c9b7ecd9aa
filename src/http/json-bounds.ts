import { isAscii } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { ServiceError } from '../errors.js';

/** A string of more bytes, all of them ASCII, is a payload, such as an image in base64; a URL is shorter. */
const payloadBytes = 4096;
/** Objects and lists in each other; the JSON Schema of an answer may have some. */
const maxDepth = 32;

const backslash = 0x5c;
const quote = 0x22;
const lineFeed = 0x0a;
const colon = 0x3a;
const openings: readonly number[] = [...Buffer.from('[{')];
const closings: readonly number[] = [...Buffer.from(']}')];
const spaces: readonly number[] = [...Buffer.from(' \t\r\n')];

/** A JSON body without its payloads, which are put back when the rest is parsed. */
export interface BoundedJson {
  /** JSON, in which a short text stands for each payload. */
  readonly text: string;
  /**
   * Puts the payloads back into the parsed text.
   *
   * @throws ServiceError malformed_json when one is no JSON
   */
  readonly restore: (value: unknown) => unknown;
}

/** A string of a JSON body: from its opening quote to after its closing one. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * Bounds a JSON body before it is parsed, since parsing millions of small values takes seconds of the event loop and
 * gigabytes of memory: everything but payloads must fit into `maxBytes`, and whatever is too much ends the search, which
 * looks for quotes natively. Payloads are not parsed either: as they stand, a body of 20 MB costs a tenth of what the parser takes.
 *
 * @throws ServiceError malformed_json when it is nested too deeply, or has too much beside payloads
 */
export function boundJson(body: Buffer, maxBytes: number): BoundedJson {
  const payloads = findPayloads(body, maxBytes);
  if (payloads.length === 0) return { text: body.toString('utf8'), restore: (value) => value };
  // Nobody can send a text that stands for another payload.
  const mark = `${randomUUID()}:`;
  const parts: string[] = [];
  let at = 0;
  for (const [index, { start, end }] of payloads.entries()) {
    parts.push(body.toString('utf8', at, start), JSON.stringify(`${mark}${index}`));
    at = end;
  }
  parts.push(body.toString('utf8', at));

  function restore(value: unknown): unknown {
    if (typeof value === 'string') {
      const payload = value.startsWith(mark) ? payloads[Number(value.slice(mark.length))] : undefined;
      return payload === undefined ? value : readPayload(body, payload);
    }
    if (Array.isArray(value)) return value.map(restore);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, restore(member)]));
  }
  return { text: parts.join(''), restore };
}

function findPayloads(body: Buffer, maxBytes: number): Range[] {
  const payloads: Range[] = [];
  let bytes = 0;
  let depth = 0;
  let at = 0;
  const count = (more: number): void => {
    bytes += more;
    if (bytes > maxBytes) {
      throw new ServiceError(
        'malformed_json',
        `The JSON may have at most ${maxBytes} bytes beside its images (MAX_OPTIONS_BYTES).`,
      );
    }
  };
  while (at < body.length) {
    const found = body.indexOf('"', at);
    const start = found === -1 ? body.length : found;
    count(start - at);
    for (const byte of body.subarray(at, start)) {
      if (openings.includes(byte)) depth += 1;
      else if (closings.includes(byte)) depth -= 1;
      if (depth > maxDepth) throw new ServiceError('malformed_json', 'The JSON is nested too deeply.');
    }
    const end = endOfString(body, start + 1, count);
    const isPayload = end - start > payloadBytes && !isKey(body, end) && isAscii(body.subarray(start, end));
    count(isPayload ? 2 : end - start);
    if (isPayload) payloads.push({ start, end });
    at = end;
  }
  return payloads;
}

/** The text of a payload. What is written with escapes, or is no JSON for a line break, is the parser's to read. */
function readPayload(body: Buffer, { start, end }: Range): string {
  const bytes = body.subarray(start + 1, end - 1);
  if (body[end - 1] === quote && !bytes.includes(backslash) && !bytes.includes(lineFeed)) {
    return bytes.toString('latin1'); // it is ASCII, and this is the fastest way
  }
  try {
    return String(JSON.parse(body.toString('latin1', start, end)));
  } catch {
    throw new ServiceError('malformed_json', 'The body is not valid JSON.');
  }
}

/** The index after the closing quote of a string. Escaped quotes are counted: a string of them would be a long search. */
function endOfString(body: Buffer, from: number, count: (bytes: number) => void): number {
  for (let at = from; at < body.length; at += 1) {
    at = body.indexOf('"', at);
    if (at === -1) break;
    let escapes = 0;
    while (body[at - 1 - escapes] === backslash) {
      escapes += 1;
      count(1);
    }
    if (escapes % 2 === 0) return at + 1;
  }
  return body.length;
}

/** Whether the string that ended here may be the name of a member: a colon follows, or too much space to tell. */
function isKey(body: Buffer, end: number): boolean {
  const next = body.subarray(end, end + 100).find((byte) => !spaces.includes(byte));
  return next === colon || (next === undefined && end < body.length);
}
