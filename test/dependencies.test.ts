import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Type } from 'typebox';
import { Value } from 'typebox/value';

const lockFile = new URL('../../package-lock.json', import.meta.url);
const { packages } = Value.Parse(
  Type.Object({
    packages: Type.Record(
      Type.String(),
      Type.Object({
        integrity: Type.Optional(Type.String()),
        link: Type.Optional(Type.Boolean()),
        resolved: Type.Optional(Type.String()),
        hasInstallScript: Type.Optional(Type.Boolean()),
      }),
    ),
  }),
  JSON.parse(readFileSync(lockFile, 'utf8')),
);
const dependencies = Object.entries(packages).filter(([path]) => path !== '');

test('every package is pinned by its SHA-512, and comes from a registry', () => {
  assert.ok(dependencies.length > 300);
  for (const [path, { integrity, link, resolved }] of dependencies) {
    assert.match(integrity ?? '', /^sha512-[A-Za-z0-9+/]{86}==$/, path);
    assert.ok(link !== true && (resolved ?? 'https://').startsWith('https://'), path);
  }
});

test('no package runs code of its own when it is installed, but for two whose scripts are switched off', () => {
  const withScripts = dependencies.filter(([, { hasInstallScript }]) => hasInstallScript === true);
  assert.deepEqual(
    withScripts.map(([path]) => path),
    // The first would see whether its own library, which comes as a package, runs here, and else compile it: BullMQ does without.
    // The second would download libraries for GPUs: scripts/bootstrap.mjs, .ci/run and the images set ONNXRUNTIME_NODE_INSTALL=skip.
    ['node_modules/msgpackr-extract', 'node_modules/onnxruntime-node'],
  );
});
