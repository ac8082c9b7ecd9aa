import { readFileSync } from 'node:fs';
import swaggerUi, { type FastifySwaggerUiOptions } from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { openApiDocument } from '../openapi/document.js';
import { forSwaggerUi } from '../openapi/for-swagger-ui.js';
import type { JsonObject } from '../openapi/share-schemas.js';

/** Swagger UI follows the system's colours only together with its top bar, which is left out here. */
const colourScheme = `const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();
`;

/** Without it, phones show the page as wide as a desktop’s, and small. */
const viewport = `document.head.append(
  Object.assign(document.createElement('meta'), { name: 'viewport', content: 'width=device-width, initial-scale=1' }),
);
`;

/**
 * Leaves out “Send empty value”, which is ticked beside every optional field of a form. The function runs in the page: what it
 * needs is inside it.
 */
const formPlugin = () => ({ components: { ParameterIncludeEmpty: () => null } });

/** Swagger UI is made for wide screens: on narrow ones its tables become blocks, and long words break. */
const narrowScreens = `@media (max-width: 640px) {
  .swagger-ui .wrapper { padding: 0 8px; }
  .swagger-ui .scheme-container .schemes { align-items: flex-start; }
  .swagger-ui .opblock .opblock-summary { flex-wrap: wrap; }
  .swagger-ui .opblock .opblock-summary-path { max-width: 100%; }
  .swagger-ui .parameters, .swagger-ui .parameters tbody, .swagger-ui .parameters tr, .swagger-ui .parameters td,
  .swagger-ui table.responses-table, .swagger-ui table.responses-table > tbody, .swagger-ui tr.response,
  .swagger-ui tr.response > td { display: block; width: auto; max-width: 100%; min-width: 0; }
  .swagger-ui .table-container table, .swagger-ui .table-container tbody, .swagger-ui .table-container tr,
  .swagger-ui .table-container td { display: block; width: auto; }
  .swagger-ui input[type=text], .swagger-ui input[type=file], .swagger-ui select, .swagger-ui textarea {
    min-width: 0; max-width: 100%; width: 100%; box-sizing: border-box; }
  .swagger-ui .markdown, .swagger-ui .renderedMarkdown, .swagger-ui code { overflow-wrap: anywhere; }
  .swagger-ui .response-col_links, .swagger-ui table.responses-table > thead { display: none; }
  .swagger-ui .try-out__btn { min-width: 0; padding: 5px 12px; }
  .swagger-ui pre, .swagger-ui pre code { white-space: pre-wrap !important; overflow-wrap: anywhere; }
}
`;

/**
 * The references for people, all of it served from here: Swagger UI over the document of `/openapi.json`, and over that of
 * the protocols of other products.
 */
export async function docsRoutes(app: FastifyInstance): Promise<void> {
  await app.register(pageOf('/docs', 'pcm-caption: API reference', () => openApiDocument(app.swagger())));
  await app.register(
    pageOf('/docs/protocols', 'pcm-caption: protocols', () => openApiDocument(app.protocolSwagger())),
  );
}

/** A page in a scope of its own, since Swagger UI decorates its scope. */
function pageOf(routePrefix: string, title: string, document: () => JsonObject) {
  return async (app: FastifyInstance): Promise<void> => {
    await app.register(swaggerUi, optionsOf(routePrefix, title, document));
  };
}

function optionsOf(routePrefix: string, title: string, document: () => JsonObject): FastifySwaggerUiOptions {
  return {
    routePrefix,
    // The top bar of the standalone layout would offer to load other people's documents.
    uiConfig: {
      layout: 'BaseLayout',
      deepLinking: true,
      displayRequestDuration: true,
      defaultModelsExpandDepth: 0,
      plugins: [formPlugin],
    },
    theme: {
      title,
      favicon: [
        {
          filename: 'icon.svg',
          rel: 'icon',
          type: 'image/svg+xml',
          sizes: 'any',
          content: readFileSync(new URL('../../playground/icon.svg', import.meta.url)),
        },
      ],
      css: [{ filename: 'narrow-screens.css', content: narrowScreens }],
      js: [
        { filename: 'colour-scheme.js', content: colourScheme },
        { filename: 'viewport.js', content: viewport },
      ],
    },
    staticCSP: {
      'default-src': "'self'",
      // Swagger UI draws its icons from data: addresses.
      'img-src': "'self' data:",
      'object-src': "'none'",
      'base-uri': "'none'",
      'frame-ancestors': "'none'",
    },
    transformSpecification: () => forSwaggerUi(document()),
    transformSpecificationClone: false,
  };
}
