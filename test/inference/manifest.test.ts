import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Compile } from 'typebox/schema';
import { BundleManifestSchema } from '../../src/inference/manifest.js';
import { defaultBundle } from './default-bundle.js';
import { exampleManifest } from './example-bundle.js';

const schemaFile = fileURLToPath(
  new URL('../../../models/pcmnet/export/bundle.schema.json', import.meta.url),
);

function readJson(path: string): unknown {
  const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
  return value;
}

describe('the JSON Schema of bundle.json that the training side reads', () => {
  const schema = readJson(schemaFile);
  assert.ok(typeof schema === 'object' && schema !== null);
  const validator = Compile(schema);

  it('is the schema that the service validates with', () => {
    const emitted: unknown = JSON.parse(JSON.stringify(BundleManifestSchema));
    assert.ok(typeof emitted === 'object' && emitted !== null);
    assert.deepEqual(schema, { ...schema, ...emitted });
  });

  it('names its draft, and has no address on the network', () => {
    assert.ok('$schema' in schema && '$id' in schema);
    assert.equal(schema.$schema, 'https://json-schema.org/draft/2020-12/schema');
    assert.match(String(schema.$id), /^urn:/);
  });

  it('accepts the embedded bundle and a bundle without its optional parts', () => {
    assert.ok(validator.Check(readJson(join(defaultBundle, 'bundle.json'))));
    assert.ok(validator.Check(exampleManifest));
  });

  const invalidManifests: Record<string, object> = {
    'of another format version': { ...exampleManifest, formatVersion: 2 },
    'with an unknown member': { ...exampleManifest, colour: 'blue' },
    'with a path that leaves the folder': { ...exampleManifest, vocabulary: '../vocabulary.txt' },
    'with a listed file that leaves the folder': {
      ...exampleManifest,
      files: { 'a/../../b': { bytes: 1, sha256: 'a'.repeat(64) } },
    },
    'without an image size': { ...exampleManifest, image: undefined },
  };
  for (const [what, manifest] of Object.entries(invalidManifests)) {
    it(`refuses a manifest ${what}`, () => {
      const written: unknown = JSON.parse(JSON.stringify(manifest));
      assert.equal(validator.Check(written), false);
    });
  }
});
