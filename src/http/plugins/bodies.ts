import accepts from '@fastify/accepts';
import multipart from '@fastify/multipart';
import fp from 'fastify-plugin';

/**
 * The bodies that are taken beside JSON, which Fastify reads itself: forms, read as they stream in, and raw images.
 * And the types that a client takes: `request.accepts()`.
 */
export const bodiesPlugin = fp(async (app) => {
  await app.register(multipart);
  await app.register(accepts);
  // Whatever the type claims: the bytes decide (images/format.ts).
  app.addContentTypeParser(/^image\//, { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, body);
  });
  // Fastify would take plain text too, as a body that no call here knows.
  app.removeContentTypeParser('text/plain');
});
