import { timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { type ApiKeyHash, hashApiKey } from '../setting.js';
import { ServiceError } from '../errors.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Number of the API key that the request bears; null where none is asked for. */
    apiKey: number | null;
  }
}

export interface ApiKeysOptions {
  /** Empty: everybody is let in. */
  readonly hashes: readonly ApiKeyHash[];
  /** Patterns of routes that need no key. */
  readonly keylessPaths: readonly string[];
}

/** Lets only requests with an API key reach the routes of its scope, before anything else is done for them. */
export const apiKeysPlugin = fp(
  (app: FastifyInstance, { hashes, keylessPaths }: ApiKeysOptions, done: () => void) => {
    app.decorateRequest('apiKey', null);
    if (hashes.length > 0) {
      app.addHook('onRequest', (request, reply, next) => {
        const key = apiKeyIndex(hashes, request.headers);
        const isKeyless = keylessPaths.includes(request.routeOptions.url ?? '');
        if (key !== undefined || isKeyless) {
          request.apiKey = key ?? null;
          next();
          return;
        }
        const isGiven = apiKeysOf(request.headers).length > 0;
        reply.header(
          'www-authenticate',
          `Bearer realm="pcm-caption"${isGiven ? ', error="invalid_token"' : ''}`,
        );
        next(
          new ServiceError(
            'unauthorized',
            isGiven ? 'This API key is not valid.' : 'Send an API key as "Authorization: Bearer …".',
          ),
        );
      });
    }
    done();
  },
);

/**
 * Index of the key that a request brings, or undefined. The time it takes tells nothing about the keys: hashes are
 * compared, all of them, each in constant time.
 */
export function apiKeyIndex(hashes: readonly ApiKeyHash[], headers: IncomingHttpHeaders): number | undefined {
  let found: number | undefined;
  for (const hash of apiKeysOf(headers).map(hashApiKey)) {
    for (const [number, known] of hashes.entries()) if (timingSafeEqual(known, hash)) found ??= number;
  }
  return found;
}

/** Headers of Azure's clients. */
const keyHeaders = ['api-key', 'ocp-apim-subscription-key'];

/**
 * The key of an `Authorization` header (RFC 6750; the scheme's name in any case), and of each of Azure's: a proxy, or a
 * library that insists on one, may have put another beside the one that counts.
 */
function apiKeysOf(headers: IncomingHttpHeaders): string[] {
  const bearer = /^bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1];
  return [bearer, ...keyHeaders.map((name) => headers[name])].filter((key) => typeof key === 'string');
}
