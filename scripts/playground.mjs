// Builds the page at / into dist: strips the types of its modules, which browsers then load as they are, and copies
// the rest. Types are checked by `npm run typecheck`.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const source = new URL('../src/playground/', import.meta.url);
const target = new URL('../dist/src/playground/', import.meta.url);
const compilerOptions = {
  module: ts.ModuleKind.ESNext,
  target: ts.ScriptTarget.ES2022,
  verbatimModuleSyntax: true,
};

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
for (const name of readdirSync(source)) {
  const file = new URL(name, source);
  if (name.endsWith('.ts')) {
    const { outputText } = ts.transpileModule(readFileSync(file, 'utf8'), {
      compilerOptions,
      fileName: fileURLToPath(file),
    });
    writeFileSync(new URL(name.replace(/\.ts$/, '.js'), target), outputText);
  } else if (/\.(html|css|svg|jpg)$/.test(name)) {
    copyFileSync(file, new URL(name, target));
  }
}
