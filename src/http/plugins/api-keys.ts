import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { ServiceError } from '../../problem.js';
import { type ApiKeyHash, apiKeyNumber, bearerToken } from '../api-keys.js';

export interface ApiKeysOptions {
  /** Empty: everybody is let in. */
  readonly hashes: readonly ApiKeyHash[];
}

/** Lets only requests with an API key reach the routes of its scope, before anything else is done for them. */
export const apiKeysPlugin = fp((app: FastifyInstance, { hashes }: ApiKeysOptions, done: () => void) => {
  if (hashes.length > 0) {
    app.addHook('onRequest', (request, reply, next) => {
      const { authorization } = request.headers;
      if (apiKeyNumber(hashes, authorization) !== undefined) {
        next();
        return;
      }
      const isGiven = bearerToken(authorization) !== undefined;
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
});
