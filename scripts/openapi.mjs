// Writes openapi.yaml from the schemas of the routes; with --check it only compares and fails when they differ.
import { readFileSync, writeFileSync } from 'node:fs';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { stringify } from 'yaml';
import { buildApp } from '../dist/src/app.js';
import { readConfig } from '../dist/src/config.js';
import { openApiDocument } from '../dist/src/http/openapi/document.js';

const file = new URL('../openapi.yaml', import.meta.url);

// Describing the routes asks nothing of the engine.
const engine = {};
const app = await buildApp({
  config: readConfig({}),
  engine,
  logger: pino({ level: 'silent' }),
  registry: new Registry(),
});
await app.ready();
const text = `# Generated from the schemas of the routes by: npm run openapi\n${stringify(openApiDocument(app), { aliasDuplicateObjects: false, lineWidth: 120 })}`;
await app.close();

if (!process.argv.includes('--check')) {
  writeFileSync(file, text);
} else if (readFileSync(file, 'utf8') !== text) {
  process.stderr.write('openapi.yaml differs from the routes: run npm run openapi and commit it\n');
  process.exitCode = 1;
}
