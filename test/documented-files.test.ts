import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const pages = ['docs/architecture.md', 'docs/architecture.svg', 'CONTRIBUTING.md'];
const sources = ['src', 'test', 'bench', 'models/pcmnet', 'models/tests', 'scripts'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true }).map((name) => join('/', folder, String(name))),
);

/** Names of code as the pages write them, with as much of the path as they give. Words in capitals stand for any name. */
function filesNamedIn(page: string): string[] {
  const text = readFileSync(join(root, page), 'utf8');
  const names = [...text.matchAll(/(?<![\w.*-])[\w/][\w./-]*\.(?:ts|py|mjs)\b/g)].map(([name]) => name);
  return [...new Set(names)].filter((name) => !/[A-Z]{3}/.test(name));
}

for (const page of pages) {
  test(`${page} names files that there are`, () => {
    const names = filesNamedIn(page);
    assert.ok(names.length > 10);
    const missing = names.filter(
      (name) =>
        !name.startsWith('dependency-cruiser') && !sources.some((source) => source.endsWith(`/${name}`)),
    );
    assert.deepEqual(missing, []);
  });
}
