import { readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import etag from '@fastify/etag';
import type { FastifyInstance } from 'fastify';

const folder = new URL('../../playground/', import.meta.url);

const mediaTypes: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.jpg': 'image/jpeg',
};

/** Nothing inline and nothing from elsewhere; the page draws photos on canvases, so not even `blob:` is needed. */
const contentSecurityPolicy =
  "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/**
 * The page at `/`, and its parts under `/playground/`. They are small and read at the start; the entity tag is of the
 * content, because every file of an npm package has the same date.
 */
export async function playgroundRoutes(app: FastifyInstance): Promise<void> {
  await app.register(etag, { algorithm: 'sha256' });
  for (const name of readdirSync(folder)) {
    const type = mediaTypes[extname(name)];
    if (type === undefined) continue;
    const content = readFileSync(new URL(name, folder));
    app.get(name === 'index.html' ? '/' : `/playground/${name}`, {
      schema: { hide: true },
      handler: (_request, reply) =>
        reply
          // Kept by browsers, and asked for again each time: a new version shows at once.
          .header('cache-control', 'no-cache')
          .header('content-security-policy', contentSecurityPolicy)
          .type(type)
          .send(content),
    });
  }
}
