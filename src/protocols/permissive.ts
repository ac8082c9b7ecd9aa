import type { FastifyRequest } from 'fastify';
import { invalidOption } from '../captioner/options.js';
import { ServiceError } from '../errors.js';

/**
 * Reading requests of other products: what is not used is not looked at, and a wrong type is an error only where the
 * value is used.
 */

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value);
}

/** The body as a JSON object. Throws ServiceError malformed_json. */
export function jsonBody({ body }: FastifyRequest): JsonObject {
  if (!isObject(body)) throw new ServiceError('malformed_json', 'The body must be a JSON object.');
  return body;
}

/** A text, or undefined where it is absent, null or empty. Throws ServiceError invalid_option. */
export function optionalText(value: unknown, name: string): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') throw invalidOption(`${name} must be a string.`);
  return value;
}

/** A list; a single value is a list of one, and nothing an empty one. */
export function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  return value === undefined || value === null || value === '' ? [] : [value];
}

/** The parameters of the query. A parameter without a value is an empty text. */
export function queryOf({ url }: FastifyRequest): URLSearchParams {
  return new URL(url, 'http://localhost').searchParams;
}

/** Refuses a language other than English, in a field that is made for it. Throws ServiceError invalid_option. */
export function refuseOtherLanguages(language: string | null | undefined): void {
  if (language === undefined || language === null || language === '') return;
  if (!/^en(?:[-_]|$)/i.test(language)) throw invalidOption('Captions are in English only (language en).');
}
