import type { FastifyInstance } from 'fastify';
import { isJsonObject, type JsonObject, shareSchemas } from './share-schemas.js';

/** The OpenAPI 3.1 document of an app that is ready. */
export function openApiDocument(app: FastifyInstance): JsonObject {
  // Through text, as it will be served: the plugin's object shares parts and has symbols among its keys.
  const document: unknown = JSON.parse(JSON.stringify(app.swagger()));
  if (!isJsonObject(document)) throw new Error('the OpenAPI document is no object');
  return shareSchemas(document);
}
