import swagger, { type FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import fp from 'fastify-plugin';
import type { Protocol } from '../protocol.js';

export interface OpenApiOptions {
  readonly version: string;
  readonly protocols: readonly Pick<Protocol, 'name' | 'description'>[];
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The document of the protocols of other products, as `swagger()` is that of this service's own calls. */
    protocolSwagger: FastifyInstance['swagger'];
  }
}

type Transform = NonNullable<FastifyDynamicSwaggerOptions['transform']>;

/** Leaves out routes of the other document. */
function showOnly(isProtocol: boolean): Transform {
  return ({ schema, url, route }) => {
    const isOther = (route.config?.protocol !== undefined) !== isProtocol;
    return { schema: isOther ? { ...schema, hide: true } : schema, url };
  };
}

const securitySchemes = {
  apiKey: {
    type: 'http',
    scheme: 'bearer',
    description: 'One of the keys in `API_KEYS`; where that is not set, none is asked for.',
  },
} as const;

/**
 * Describes the routes registered after it, from their own schemas: this service's own calls (`app.swagger()`), and the
 * protocols of other products (`app.protocolSwagger()`).
 */
export const openApiPlugin = fp(async (app, { version, protocols }: OpenApiOptions) => {
  await app.register(swagger, {
    decorator: 'protocolSwagger',
    transform: showOnly(true),
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'pcm-caption: protocols of other products',
        version,
        description:
          'Programs that speak one of these protocols get captions by changing an address. Fields that are not named here are ignored. **Prompts have no effect**: whatever a client asks, the answer describes the image. A request that requires something else, such as an unknown field of a JSON schema or another language than English, is refused. Errors have the shape of each protocol. This service’s own calls are at [/docs](/docs).',
      },
      servers: [{ url: '/', description: 'This service' }],
      components: { securitySchemes },
      security: [{ apiKey: [] }],
      tags: protocols.map(({ name, description }) => ({ name, description })),
    },
  });
  await app.register(swagger, {
    transform: showOnly(false),
    convertConstToEnum: false,
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'pcm-caption',
        version,
        summary: 'Captions for images, with a confidence that means something.',
        description:
          'Send an image, get a sentence, its confidence, other candidates and what was detected. No image is stored, and no image or caption is logged; results may be kept in memory for identical requests. An `x-request-id` of a client is taken over, and the trace of its `traceparent` (W3C Trace Context) stands in the log. The protocols of other products, such as Ollama’s and OpenAI’s, are described at [/docs/protocols](/docs/protocols).',
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: '/', description: 'This service' }],
      components: {
        securitySchemes,
      },
      // Routes that need no key say so.
      security: [{ apiKey: [] }],
      tags: [
        { name: 'captions', description: 'Images in, sentences or scores out.' },
        {
          name: 'jobs',
          description: 'Many images on many machines; only where there is a queue server (`QUEUE_URL`).',
        },
        { name: 'models', description: 'What is being served.' },
        { name: 'operation', description: 'Health and figures, for those who run the service.' },
      ],
    },
  });
});
