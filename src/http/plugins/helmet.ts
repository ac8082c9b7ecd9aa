import helmet from '@fastify/helmet';
import fp from 'fastify-plugin';

/**
 * Security headers of every answer. Data needs nothing, should a browser ever show it as a page; the pages proper have
 * policies of their own (routes/playground.ts, routes/docs.ts).
 */
export const helmetPlugin = fp(async (app) => {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
    // Whether all is HTTPS is for whoever terminates TLS to say.
    strictTransportSecurity: false,
    xFrameOptions: { action: 'deny' },
    referrerPolicy: { policy: 'no-referrer' },
    // Answers are for programs of other origins too, when CORS lets them.
    crossOriginResourcePolicy: { policy: 'same-origin' },
    crossOriginEmbedderPolicy: false,
  });
});
