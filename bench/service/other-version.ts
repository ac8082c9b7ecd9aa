import { execFile } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BenchError } from '../figures/figure.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const run = promisify(execFile);

export interface OtherVersion {
  /** The commit, as git shortens it. */
  readonly name: string;
  /** Its compiled main file. */
  readonly main: string;
  remove(): Promise<void>;
}

/**
 * Another version of this repository, built in a folder of its own. It gets the packages that are installed here: what is
 * compared is this product's code and model, not other people's.
 * @param ref anything that git takes for a commit
 * @throws BenchError when there is no such commit, as in a shallow clone, or it does not build
 */
export async function buildVersion(ref: string): Promise<OtherVersion> {
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
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    await run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
      cwd: folder,
    });
  } catch (cause) {
    await remove();
    throw new BenchError(`commit ${name} does not build: ${cause instanceof Error ? cause.message : ''}`, {
      cause,
    });
  }
  return { name, main: join(folder, 'dist/src/main.js'), remove };
}
