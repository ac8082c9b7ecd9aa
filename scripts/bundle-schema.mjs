// Writes the JSON Schema of bundle.json from src/inference/manifest.ts, for the training side to validate its bundles
// against; with --check it only compares and fails when they differ.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { BundleManifestSchema } from '../dist/src/inference/manifest.js';

const file = new URL('../models/pcmnet/export/bundle.schema.json', import.meta.url);
const schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: `urn:pcm-caption:bundle:${BundleManifestSchema.properties.formatVersion.const}`,
  $comment: 'Generated from src/inference/manifest.ts by: npm run bundle-schema',
  ...BundleManifestSchema,
};
const text = `${JSON.stringify(schema, null, 2)}\n`;

if (!process.argv.includes('--check')) {
  mkdirSync(new URL('.', file), { recursive: true });
  writeFileSync(file, text);
} else if (readFileSync(file, 'utf8') !== text) {
  process.stderr.write(
    'bundle.schema.json differs from manifest.ts: run npm run bundle-schema and commit it\n',
  );
  process.exitCode = 1;
}
