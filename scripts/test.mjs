// Runs every compiled test file, or those whose path contains one of the arguments: `npm test -- images`.
// Tests in test/browser and test/webgpu need a Chromium, those in test/s3 a server of S3, those in test/jobs one of Redis, and
// those in test/metadata ExifTool and exiv2, so they run only where an argument begins with their folder's name.
// Node 20 takes no glob patterns for --test, so the files are listed here.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const wanted = process.argv.slice(2);
/** Folders of tests that need more than Node. */
const special = ['browser', 'webgpu', 's3', 'jobs', 'metadata'].filter(
  (folder) => !wanted.some((part) => part.startsWith(folder)),
);
const files = readdirSync(join(root, 'dist/test'), { recursive: true })
  .map((name) => join('dist/test', name))
  .filter((path) => path.endsWith('.test.js'))
  .filter((path) => !special.some((folder) => path.startsWith(join('dist/test', folder))))
  .filter((path) => wanted.length === 0 || wanted.some((part) => path.includes(part)))
  .sort();
if (files.length === 0) {
  process.stderr.write(`no test file matches ${wanted.join(' ')}\n`);
  process.exit(1);
}
// Forced to exit: services that a failed test left running would keep its process alive, and it ends them when it exits.
// Of the whole, a file for each core: much of a test is waiting. Node leaves one core out.
const concurrency = wanted.length === 0 ? availableParallelism() : 1;
const command = [
  '--enable-source-maps',
  '--test',
  `--test-concurrency=${concurrency}`,
  '--test-force-exit',
  '--test-reporter=spec',
  ...files,
];
const { status } = spawnSync(process.execPath, command, { cwd: root, stdio: 'inherit' });
process.exit(status ?? 1);
