import accepts from '@fastify/accepts';
import multipart from '@fastify/multipart';
import fp from 'fastify-plugin';
import { boundJson } from '../json-bounds.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** Parses a JSON body within the bounds that hold for all. */
    parseJson: (request: FastifyRequest, body: Buffer) => Promise<unknown>;
  }
}

export interface BodyParserOptions {
  /** Bytes of a JSON body beside its images. */
  readonly maxOptionsBytes: number;
}

/**
 * The bodies that are taken: JSON, forms, read as they stream in, and raw images. And the types that a client takes:
 * `request.accepts()`.
 */
export const bodyParsersPlugin = fp(async (app, { maxOptionsBytes }: BodyParserOptions) => {
  await app.register(multipart);
  await app.register(accepts);
  // Whatever the type claims: the bytes decide (images/format.ts).
  for (const type of [/^image\//, 'application/octet-stream']) {
    app.addContentTypeParser(type, { parseAs: 'buffer' }, (_request, body, done) => {
      done(null, body);
    });
  }
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.decorate('parseJson', async (request, body) => {
    const { text, restore } = boundJson(body, maxOptionsBytes);
    const value = await new Promise<unknown>((resolve, reject) => {
      void parseJson(request, text, (error, parsed) => {
        if (error === null) resolve(parsed);
        else reject(error);
      });
    });
    return restore(value);
  });
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, app.parseJson);
  // Fastify would take plain text too, as a body that no call here knows.
  app.removeContentTypeParser('text/plain');
});
