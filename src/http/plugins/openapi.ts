import swagger from '@fastify/swagger';
import fp from 'fastify-plugin';

export interface OpenApiOptions {
  readonly version: string;
}

/** Describes the routes registered after it (`app.swagger()`), from their own schemas. */
export const openApiPlugin = fp(async (app, { version }: OpenApiOptions) => {
  await app.register(swagger, {
    convertConstToEnum: false,
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'pcm-caption',
        version,
        summary: 'Captions for images, with a confidence that means something.',
        description:
          'Send an image, get a sentence, its confidence, other candidates and what was detected. No image is stored, and no image or caption is logged; results may be kept in memory for identical requests. An `x-request-id` of a client is taken over, and the trace of its `traceparent` (W3C Trace Context) stands in the log.',
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: '/', description: 'This service' }],
      components: {
        securitySchemes: {
          apiKey: {
            type: 'http',
            scheme: 'bearer',
            description: 'One of the keys in `API_KEYS`; where that is not set, none is asked for.',
          },
        },
      },
      // Routes that need no key say so.
      security: [{ apiKey: [] }],
      tags: [
        { name: 'captions', description: 'Images in, sentences or scores out.' },
        { name: 'models', description: 'What is being served.' },
        { name: 'operation', description: 'Health and figures, for those who run the service.' },
      ],
    },
  });
});
