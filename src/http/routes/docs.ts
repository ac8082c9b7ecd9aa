import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { openApiDocument } from '../openapi/document.js';

/** The reference for people: Swagger UI over the document of `/openapi.json`, all of it served from here. */
export async function docsRoutes(app: FastifyInstance): Promise<void> {
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { deepLinking: true, displayRequestDuration: true, tryItOutEnabled: true },
    theme: { title: 'pcm-caption: API reference' },
    transformSpecification: () => openApiDocument(app),
    transformSpecificationClone: false,
  });
}
