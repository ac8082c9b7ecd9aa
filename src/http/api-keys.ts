import { createHash, timingSafeEqual } from 'node:crypto';

/** SHA-256 of an API key. Keys are long and random, so a fast hash gives away nothing. */
export type ApiKeyHash = Buffer;

export function hashApiKey(key: string): ApiKeyHash {
  return createHash('sha256').update(key).digest();
}

/**
 * Which of the keys an `Authorization` header bears (RFC 6750), or undefined. The time it takes tells nothing about the
 * keys: hashes are compared, all of them, each in constant time.
 */
export function apiKeyNumber(
  hashes: readonly ApiKeyHash[],
  authorization: string | undefined,
): number | undefined {
  const token = bearerToken(authorization);
  if (token === undefined) return undefined;
  const hash = hashApiKey(token);
  let found: number | undefined;
  for (const [number, known] of hashes.entries()) if (timingSafeEqual(known, hash)) found = number;
  return found;
}

/** The scheme's name is taken in any case (RFC 9110). */
export function bearerToken(authorization: string | undefined): string | undefined {
  return /^bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
}
