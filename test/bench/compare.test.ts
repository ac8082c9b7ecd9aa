import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../bench/bench.js', import.meta.url));

/** What the bench says on standard error before it ends with 1. */
function refusalOf(...args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [program, ...args], (error, _stdout, stderr) => {
      if (error?.code === 1) resolve(stderr);
      else reject(new Error(`${args.join(' ')} was not refused`, { cause: error }));
    });
  });
}

test('a comparison takes one or two commits that git knows, and sizes of photos that there are', async () => {
  assert.match(await refusalOf('compare'), /^bench: compare takes one or two commits\n$/);
  assert.match(await refusalOf('compare', 'a', 'b', 'c'), /^bench: compare takes one or two commits\n$/);
  assert.match(await refusalOf('compare', 'a', '--photo-size', '7'), /--photo-size takes 256, 1024, 12mp\n$/);
  assert.match(await refusalOf('compare', 'no-such-commit', 'HEAD'), /git knows no commit no-such-commit/);
});
