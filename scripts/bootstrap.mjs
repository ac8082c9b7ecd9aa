// Makes a fresh clone runnable with Node alone: installs from the lock file and compiles, each only when
// needed. npm runs it before `start` (argument "src": the service) and `test`, `bench` ("all").
// It may import nothing but Node's own modules: it runs before anything is installed.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const targets = {
  src: { project: 'tsconfig.build.json', folders: ['src'] },
  all: { project: 'tsconfig.json', folders: ['src', 'test', 'bench'] },
};

const target = targets[process.argv[2]];
if (target === undefined) {
  fail(`usage: node scripts/bootstrap.mjs ${Object.keys(targets).join(' | ')}`);
}

install();
compile(target);

function install() {
  // npm writes this copy of the lock file last, so its age is the age of a finished installation.
  const installed = modified('node_modules/.package-lock.json');
  if (installed >= modified('package-lock.json')) return;
  say('installing packages from package-lock.json (the first time takes a minute)');
  // The compiler is a development dependency, so these are wanted even under NODE_ENV=production.
  run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund'], {
    // The CPU runtime is inside the package; its install script would only download GPU libraries.
    ONNXRUNTIME_NODE_INSTALL: 'skip',
  });
}

function compile({ project, folders }) {
  const stamp = `dist/.built-${project}`;
  const sources = [...folders, project, 'tsconfig.json', 'scripts/playground.mjs', 'package-lock.json'];
  if (modified(stamp) >= Math.max(...sources.map(newest))) return;
  say('compiling');
  // A module whose source is gone must not be loaded from an earlier build.
  for (const folder of folders) rmSync(join(root, 'dist', folder), { recursive: true, force: true });
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', project]);
  run(process.execPath, [join(root, 'scripts/playground.mjs')]);
  mkdirSync(join(root, 'dist'), { recursive: true });
  for (const name of Object.keys(targets)) {
    const { project: other, folders: covered } = targets[name];
    if (covered.every((folder) => folders.includes(folder)))
      writeFileSync(join(root, `dist/.built-${other}`), '');
  }
}

/** Modification time of a file in ms, or 0 when there is none. */
function modified(path) {
  return statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** The newest modification time under a path; folders count too, so that a deleted file is noticed. */
function newest(path) {
  const own = modified(path);
  if (own === 0 || !statSync(join(root, path)).isDirectory()) return own;
  return Math.max(own, ...readdirSync(join(root, path)).map((name) => newest(join(path, name))));
}

function run(command, args, environment = {}) {
  // npm is a batch file on Windows, which only a shell can start; the arguments are constants.
  const shell = command === 'npm' && process.platform === 'win32';
  const options = { cwd: root, stdio: ['ignore', 2, 2], env: { ...process.env, ...environment }, shell };
  const { status, error } = spawnSync(command, args, options);
  if (error !== undefined) fail(`cannot run ${command}: ${error.message}`);
  if (status !== 0) fail(`${command} ${args.join(' ')} failed`);
}

function say(message) {
  process.stderr.write(`pcm-caption: ${message}\n`);
}

function fail(message) {
  say(message);
  process.exit(1);
}
