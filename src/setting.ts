import ipaddr from 'ipaddr.js';
import { createHash } from 'node:crypto';

/** SHA-256 of an API key. Keys are long and random, so a fast hash gives away nothing. */
export type ApiKeyHash = Buffer;

export function hashApiKey(key: string): ApiKeyHash {
  return createHash('sha256').update(key).digest();
}

/** One setting of the service, read from an environment variable. */
export interface Setting<T> {
  /** The environment variable. */
  name: string;
  /** Throws InvalidValue. */
  parse: (text: string) => T;
  default: T;
  /** The default in words where the value itself would not tell. */
  defaultText?: string;
  /** The value never appears in a message. */
  isSecret?: boolean;
  help: string;
}

export class InvalidValue extends Error {}

export function integer(minimum: number, maximum: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < minimum || value > maximum) {
      throw new InvalidValue(`a whole number from ${minimum} to ${maximum}`);
    }
    return value;
  };
}

export function share(text: string): number {
  const value = Number(text);
  if (!/^\d*\.?\d+$/.test(text) || value > 1) throw new InvalidValue('a number from 0 to 1');
  return value;
}

export function automaticOr(minimum: number, maximum: number) {
  const number = integer(minimum, maximum);
  return (text: string): number | 'auto' => {
    if (text === 'auto') return 'auto';
    try {
      return number(text);
    } catch {
      throw new InvalidValue(`auto, or a whole number from ${minimum} to ${maximum}`);
    }
  };
}

export function oneOf<const T extends string>(...choices: readonly T[]) {
  return (text: string): T => {
    const found = choices.find((choice) => choice === text);
    if (found === undefined) throw new InvalidValue(`one of ${choices.join(', ')}`);
    return found;
  };
}

export function boolean(text: string): boolean {
  return oneOf('true', 'false')(text) === 'true';
}

export function nonEmpty(what: string) {
  return (text: string): string => {
    if (text.trim() === '') throw new InvalidValue(what);
    return text;
  };
}

export function matching(what: string, pattern: RegExp) {
  return (text: string): string => {
    if (!pattern.test(text)) throw new InvalidValue(what);
    return text;
  };
}

export function list(what: string, pattern: RegExp) {
  return (text: string): readonly string[] => {
    const values = text.split(',').map((value) => value.trim());
    if (!values.every((value) => pattern.test(value))) throw new InvalidValue(what);
    return values;
  };
}

export function networks(text: string): readonly string[] {
  const values = text.split(',').map((value) => value.trim());
  if (!values.every((value) => ipaddr.isValidCIDR(value))) {
    throw new InvalidValue('networks such as 10.0.0.0/8, separated by commas');
  }
  return values;
}

/**
 * Fastify's `trustProxy`. With `true` a client that reaches the service itself can name any address, and a number of
 * proxies would not be safer: networks are.
 */
export function trustedProxies(text: string): boolean | string[] {
  if (text === 'true' || text === 'false') return text === 'true';
  try {
    return [...networks(text)];
  } catch {
    throw new InvalidValue('true, false, or the networks of proxies such as 10.0.0.0/8, separated by commas');
  }
}

/** Keys are forgotten as soon as they are read; the message never repeats one. */
export function apiKeyHashes(text: string): readonly ApiKeyHash[] {
  return text.split(',').map((value) => {
    const key = value.trim();
    const hash = /^sha256:([0-9a-f]{64})$/i.exec(key)?.[1];
    if (hash !== undefined) return Buffer.from(hash, 'hex');
    if (!/^[\x21-\x7e]{16,}$/.test(key) || key.startsWith('sha256:')) {
      throw new InvalidValue(
        'keys of at least 16 characters, or sha256: and 64 hexadecimal digits, separated by commas',
      );
    }
    return hashApiKey(key);
  });
}

/** Lets each entry of the table keep a type of its own. */
export function setting<T>(entry: Omit<Setting<T>, 'default'> & { default: NoInfer<T> }): Setting<T> {
  return entry;
}

/** In words, what a setting takes: no setting takes a blank, and each refuses it with these words. */
export function acceptedBy(parse: (text: string) => unknown): string {
  try {
    parse(' ');
  } catch (error) {
    if (error instanceof InvalidValue) return error.message;
  }
  throw new Error('a setting takes a blank');
}
