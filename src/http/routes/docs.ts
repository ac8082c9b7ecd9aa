import { readFileSync } from 'node:fs';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { openApiDocument } from '../openapi/document.js';

/** Swagger UI follows the system's colours only together with its top bar, which is left out here. */
const colourScheme = `const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();
`;

/** The reference for people: Swagger UI over the document of `/openapi.json`, all of it served from here. */
export async function docsRoutes(app: FastifyInstance): Promise<void> {
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    // The top bar of the standalone layout would offer to load other people's documents.
    uiConfig: { layout: 'BaseLayout', deepLinking: true, displayRequestDuration: true },
    theme: {
      title: 'pcm-caption: API reference',
      favicon: [
        {
          filename: 'icon.svg',
          rel: 'icon',
          type: 'image/svg+xml',
          sizes: 'any',
          content: readFileSync(new URL('../playground/icon.svg', import.meta.url)),
        },
      ],
      js: [{ filename: 'colour-scheme.js', content: colourScheme }],
    },
    staticCSP: {
      'default-src': "'self'",
      // Swagger UI draws its icons from data: addresses.
      'img-src': "'self' data:",
      'object-src': "'none'",
      'base-uri': "'none'",
      'frame-ancestors': "'none'",
    },
    transformSpecification: () => openApiDocument(app),
    transformSpecificationClone: false,
  });
}
