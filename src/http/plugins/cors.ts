import cors from '@fastify/cors';
import fp from 'fastify-plugin';

export interface CorsOptions {
  /** Origins whose pages may call the service, or `*`; empty: none but its own. */
  readonly origins: readonly string[];
}

/** Lets pages of other origins call the service. They never send cookies: there are none. */
export const corsPlugin = fp(async (app, { origins }: CorsOptions) => {
  if (origins.length === 0) return;
  await app.register(cors, {
    origin: origins.includes('*') ? '*' : [...origins],
    // Headers are those that a client asks for: each library sends some of its own.
    methods: ['GET', 'HEAD', 'POST', 'DELETE'],
    exposedHeaders: [
      'x-request-id',
      'server-timing',
      'retry-after',
      'ratelimit-limit',
      'ratelimit-remaining',
      'ratelimit-reset',
    ],
    // Browsers ask once an hour.
    maxAge: 3600,
    // An OPTIONS request that is no preflight is answered too, in place of the plugin's own plain text.
    strictPreflight: false,
  });
});
