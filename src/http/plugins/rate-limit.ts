import { isIP } from 'node:net';
import rateLimit, { normalizeIP } from '@fastify/rate-limit';
import fp from 'fastify-plugin';
import { ServiceError } from '../../errors.js';
import type { ApiKeyHash } from '../../setting.js';
import { apiKeyIndex } from '../auth.js';

export interface RateLimitOptions {
  /** Requests a minute; 0: no limit. */
  readonly perMinute: number;
  readonly hashes: readonly ApiKeyHash[];
}

/** Clients that are counted at the same time; the least recent is forgotten first. */
const maxClients = 100_000;

/**
 * Limits how often a client may ask the routes of its scope: each API key, and each address without a valid one, so that
 * guessing keys is limited too. IPv6 addresses count by their /64, the smallest network that anybody gets.
 */
export const rateLimitPlugin = fp(async (app, { perMinute, hashes }: RateLimitOptions) => {
  if (perMinute === 0) return;
  await app.register(rateLimit, {
    global: false,
    max: perMinute,
    timeWindow: 60_000,
    cache: maxClients,
    // The field names of the IETF's draft, without x-.
    enableDraftSpec: true,
    keyGenerator: ({ headers, ip, socket }) => {
      const key = apiKeyIndex(hashes, headers);
      return key === undefined ? normalizeIP(addressOf(ip) ?? socket.remoteAddress ?? '') : `key ${key}`;
    },
    errorResponseBuilder: (_request, { max, ttl }) =>
      new ServiceError('rate_limited', `At most ${max} requests a minute are answered.`, ttl / 1000),
  });
  // A hook of the scope, not of each route: it has to come before a route reserves places.
  app.addHook('onRequest', app.rateLimit());
});

/** The address that a proxy names, some with its port; undefined where it names none, so that the proxy itself counts. */
function addressOf(text: string): string | undefined {
  const address = text.replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1').replace(/^\[([^\]]*)\](?::\d+)?$/, '$1');
  return isIP(address) === 0 ? undefined : address;
}
