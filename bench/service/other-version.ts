import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BenchError } from '../figures/figure.js';
import { builtService } from './running-service.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const run = promisify(execFile);

/** A compiled version of the service. */
export interface Version {
  /** The commit, as git shortens it, or what else it is. */
  readonly name: string;
  /** Its compiled main file. */
  readonly main: string;
  remove(): Promise<void>;
}

/** This checkout, as `npm run bench` has built it. */
export const thisVersion: Version = {
  name: 'this checkout',
  main: builtService,
  remove: () => Promise.resolve(),
};

/**
 * Builds a commit of this repository in a temporary folder of its own, with the packages of its own lock file.
 *
 * @param ref anything that git takes for a commit
 * @throws BenchError when there is no such commit, as in a shallow clone, or it does not build
 */
export async function buildVersion(ref: string): Promise<Version> {
  const git = async (...args: string[]): Promise<string> =>
    (await run('git', args, { cwd: root })).stdout.trim();
  const name = await git('rev-parse', '--short', '--verify', `${ref}^{commit}`).catch((cause: unknown) => {
    throw new BenchError(`git knows no commit ${ref} here; a shallow clone has no history`, { cause });
  });
  const folder = await mkdtemp(join(tmpdir(), 'pcm-caption-bench-version-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const archive = join(folder, 'archive.tar');
    await git('archive', '--output', archive, name);
    await run('tar', ['-xf', archive, '-C', folder]);
    await rm(archive);
    if (await sameLock(folder)) await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    else await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder });
    await run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
      cwd: folder,
    });
    const page = join(folder, 'scripts/playground.mjs');
    if (existsSync(page)) await run(process.execPath, [page], { cwd: folder });
  } catch (cause) {
    await remove();
    throw new BenchError(`commit ${name} does not build: ${cause instanceof Error ? cause.message : ''}`, {
      cause,
    });
  }
  return { name, main: join(folder, 'dist/src/main.js'), remove };
}

async function sameLock(folder: string): Promise<boolean> {
  const [here, there] = await Promise.all(
    [root, folder].map((each) => readFile(join(each, 'package-lock.json'), 'utf8')),
  );
  return here === there;
}
