import helmet from '@fastify/helmet';
import fp from 'fastify-plugin';

/**
 * Security headers of every answer. The content security policy is for the pages: all they need comes from this
 * service, and nothing of it is inline.
 */
export const helmetPlugin = fp(async (app) => {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        styleSrc: ["'self'"],
        fontSrc: ["'self'"],
        manifestSrc: ["'self'"],
        connectSrc: ["'self'"],
        // Photos that were dropped on the page are shown from memory.
        imgSrc: ["'self'", 'blob:', 'data:'],
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
