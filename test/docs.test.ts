import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { readConfig } from '../src/config.js';
import { apiKeyIndex } from '../src/http/auth.js';
import { noise } from './images/drawn.js';
import { RunningService } from './running-service.js';
import { defaultBundle } from './inference/default-bundle.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** What the pages call the service. */
const documentedUrl = 'http://127.0.0.1:8080';

/** A command of a page, and the answer that the page shows for it, one JSON value for each line of NDJSON. */
interface Example {
  readonly command: string;
  readonly answers: readonly unknown[];
}

/**
 * Each `sh` block, with the `json` or `ndjson` block that follows it. Lists may end with an ellipsis. What npm does to the
 * clone is left out: it is how the tests themselves were started.
 */
function examplesOf(page: string): Example[] {
  const text = readFileSync(join(root, page), 'utf8')
    .replaceAll(', …', '')
    .replace(/^npm .*\n/gm, '');
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```\n(?:\n```(json|ndjson)\n(.*?)^```\n)?/gms)];
  const examples = blocks.map(([, command = '', kind, answer = '']) => {
    const texts = kind === undefined ? [] : kind === 'json' ? [answer] : answer.trim().split('\n');
    return { command, answers: texts.map((each): unknown => JSON.parse(each)) };
  });
  return examples.filter(({ command }) => command !== '');
}

/** The same members, and values of the same type, all the way down; lists by their first entry. */
function assertAlike(actual: unknown, documented: unknown, path: string): void {
  if (Array.isArray(documented)) {
    assert.ok(Array.isArray(actual), path);
    // A drawing shows few of the things that have tags.
    const mayBeEmpty = path.endsWith('.tags') && actual.length === 0;
    if (documented.length > 0 && !mayBeEmpty) assertAlike(actual[0], documented[0], `${path}[0]`);
  } else if (isObject(documented)) {
    assert.ok(isObject(actual), path);
    assert.deepEqual(Object.keys(actual).sort(), Object.keys(documented).sort(), path);
    for (const [name, value] of Object.entries(documented))
      assertAlike(actual[name], value, `${path}.${name}`);
    // Problems are alike when they are the same problem.
    if ('code' in documented) assert.equal(actual['code'], documented['code'], path);
  } else {
    assert.equal(
      actual === null ? 'null' : typeof actual,
      documented === null ? 'null' : typeof documented,
      path,
    );
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

describe('the commands of README.md and docs/ do what the pages say', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pcm-caption-docs-'));
  let service: RunningService;

  before(async () => {
    // As large as a camera's, more than a command line can hold.
    const photo = await noise(2400, 1600).jpeg({ quality: 95 }).toBuffer();
    assert.ok(photo.length > 3_000_000, `${photo.length} bytes`);
    for (const name of ['photos', 'more', 'bin']) mkdirSync(join(folder, name));
    for (const name of ['photo.jpg', 'other.jpg', 'photos/a.jpg', 'more/b.jpg'])
      writeFileSync(join(folder, name), photo);
    writeFileSync(join(folder, 'unsure.jpg'), await noise().jpeg().toBuffer());
    writeFileSync(join(folder, 'broken.jpg'), photo.subarray(0, photo.length / 2));
    symlinkSync(defaultBundle, join(folder, 'my-bundle'));
    const program = join(folder, 'bin/pcm-caption');
    writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'dist/src/cli.js')}' "$@"\n`);
    chmodSync(program, 0o755);
    service = await RunningService.start();
  });
  after(() => {
    service.child.kill('SIGTERM');
    rmSync(folder, { recursive: true });
  });

  async function run(command: string): Promise<string> {
    const env = { ...process.env, PATH: `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}` };
    const script = command.replaceAll(documentedUrl, service.url);
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
      cwd: folder,
      env,
    });
    return stdout;
  }

  for (const page of ['README.md', 'docs/api.md', 'docs/cli.md', 'docs/confidence.md']) {
    test(page, async (t) => {
      const examples = examplesOf(page);
      assert.ok(examples.length > 0);
      for (const { command, answers } of examples) {
        await t.test(command.trim().split('\n')[0] ?? '', async () => {
          const output = await run(command);
          assert.doesNotMatch(output, answers.length === 0 ? /"code":/ : /^$/);
          if (answers.length === 0) return;
          const lines = answers.length === 1 ? [output] : output.trim().split('\n');
          const actual = lines.map((line): unknown => JSON.parse(line));
          assert.equal(actual.length, answers.length);
          for (const [index, answer] of answers.entries()) assertAlike(actual[index], answer, 'answer');
        });
      }
    });
  }
});

test('the command of deployment.md makes a key, and the hash by which the service knows it', async () => {
  const { command } =
    examplesOf('docs/deployment.md').find(({ command: text }) => text.includes('API_KEYS: ')) ?? {};
  assert.ok(command);
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', command]);
  const [, key = '', hash = ''] = /key: (\S+)\n.*?(sha256:\S+)\n$/.exec(stdout) ?? [];
  const { apiKeyHashes } = readConfig({ API_KEYS: hash });
  assert.equal(apiKeyIndex(apiKeyHashes, { authorization: `Bearer ${key}` }), 0);
});

test('every page that docs/ points to is there', () => {
  for (const page of [
    'README.md',
    'api.md',
    'cli.md',
    'confidence.md',
    'errors.md',
    'settings.md',
    'security.md',
  ]) {
    const text = readFileSync(join(root, 'docs', page), 'utf8');
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (!/^https?:/.test(target)) assert.ok(existsSync(join(root, 'docs', target)), `${page}: ${target}`);
    }
  }
});
