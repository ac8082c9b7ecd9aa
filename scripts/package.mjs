// Builds the npm package in dist/package, and packs it into a folder: npm run package -- [FOLDER]
// It is what a release publishes, and differs from the repository in four things:
// - The embedded bundle has the precision for CPUs alone, which is half of its bytes.
// - It brings ONNX Runtime along, as published, but without its install script, which downloads libraries for GPUs and
//   fails where it cannot; and of its binaries only those below.
// - What traces, jobs, and the index and metadata of an archive need is installed by those who want them: it is a third of
//   all files, and brings install scripts.
// - npm heeds the `overrides` of the folder that is installed into alone, so here they are dependencies. They are the last
//   versions for Node 20.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Windows is left out for its size; there, the service runs from a clone or in a container. */
const binaries = [
  'linux/x64/onnxruntime_binding.node',
  'linux/x64/libonnxruntime.so.1',
  'linux/arm64/onnxruntime_binding.node',
  'linux/arm64/libonnxruntime.so.1',
  'darwin/arm64/onnxruntime_binding.node',
  'darwin/arm64/libonnxruntime.1.dylib',
].map((name) => `bin/napi-v6/${name}`);

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, 'dist/package');
const destination = resolve(process.argv[2] ?? 'dist');

rmSync(folder, { recursive: true, force: true });
const documents = ['openapi.yaml', 'README.md', 'CHANGELOG.md', 'LICENSE', 'THIRD-PARTY-NOTICES.md'];
for (const name of ['dist/src', 'models/default', ...documents]) copy(name);
writePackageJson();
copyRuntime();
reduceBundle();
const { status } = spawnSync('npm', ['pack', '--silent', '--pack-destination', destination], {
  cwd: folder,
  stdio: ['ignore', 'inherit', 'inherit'],
});
process.exit(status ?? 1);

function writePackageJson() {
  const { dependencies, optionalDependencies, overrides, ...facts } = read('package.json');
  const isForTraces = (name) => name === '@fastify/otel' || name.startsWith('@opentelemetry/');
  const all = Object.entries({ ...dependencies, ...overrides });
  const peers = [...all.filter(([name]) => isForTraces(name)), ...Object.entries(optionalDependencies)];
  for (const name of ['private', 'scripts', 'devDependencies', 'allowScripts']) delete facts[name];
  write('package.json', {
    ...facts,
    os: ['linux', 'darwin'],
    dependencies: Object.fromEntries(all.filter(([name]) => !isForTraces(name))),
    peerDependencies: Object.fromEntries(peers),
    peerDependenciesMeta: Object.fromEntries(peers.map(([name]) => [name, { optional: true }])),
    bundleDependencies: ['onnxruntime-node'],
  });
}

function copyRuntime() {
  const runtime = 'node_modules/onnxruntime-node';
  const common = 'onnxruntime-common';
  for (const name of ['dist', 'README.md', ...binaries]) copy(`${runtime}/${name}`);
  copy(`node_modules/${common}`);
  const { scripts, dependencies, ...facts } = read(`${runtime}/package.json`);
  if (scripts.postinstall === undefined) throw new Error(`${runtime} has no install script to leave out`);
  write(`${runtime}/package.json`, { ...facts, dependencies: { [common]: dependencies[common] } });
}

function reduceBundle() {
  const manifest = read('models/default/bundle.json');
  const { int8, ...others } = manifest.precisions;
  const unused = new Set(Object.values(others).flatMap((graphs) => Object.values(graphs)));
  for (const name of unused) rmSync(join(folder, 'models/default', name));
  const files = Object.entries(manifest.files).filter(([name]) => !unused.has(name));
  const reduced = { ...manifest, precisions: { int8 }, files: Object.fromEntries(files) };
  write('models/default/bundle.json', reduced);
}

function copy(name) {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  cpSync(join(root, name), join(folder, name), { recursive: true });
}

function read(name) {
  return JSON.parse(readFileSync(join(root, name), 'utf8'));
}

function write(name, value) {
  writeFileSync(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
}
