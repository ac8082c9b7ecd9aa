// Writes openapi.yaml from the schemas of the routes; with --check it only compares and fails when they differ.
import { readFileSync, writeFileSync } from 'node:fs';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { stringify } from 'yaml';
import { buildServer } from '../dist/src/http/server.js';
import { readConfig } from '../dist/src/config.js';
import { jobRoutes } from '../dist/src/jobs/routes.js';
import { openApiDocument } from '../dist/src/http/openapi/document.js';

const file = new URL('../openapi.yaml', import.meta.url);

// Describing the routes asks nothing of what answers them.
const app = await buildServer({
  config: readConfig({}),
  captioner: {},
  scheduler: {},
  logger: pino({ level: 'silent' }),
  registry: new Registry(),
  protocols: [],
  jobs: (app, _options, done) => jobRoutes(app, { service: {}, policy: {}, scheduler: {}, pollMs: 0 }, done),
});
await app.ready();
const text = `# Generated from the schemas of the routes by: npm run openapi\n${stringify(openApiDocument(app.swagger()), { aliasDuplicateObjects: false, lineWidth: 120 })}`;
await app.close();

if (!process.argv.includes('--check')) {
  writeFileSync(file, text);
} else if (readFileSync(file, 'utf8') !== text) {
  process.stderr.write('openapi.yaml differs from the routes: run npm run openapi and commit it\n');
  process.exitCode = 1;
}
