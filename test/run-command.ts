import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface RunOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** Where relative paths begin. */
  readonly folder?: string;
  readonly stdin?: Buffer;
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Kills a process when this one ends: a test that fails may not get as far as to stop what it started. */
export function killAtExit(child: ChildProcess): void {
  running.add(child);
  child.once('exit', () => running.delete(child));
}

/** Starts one of the compiled programs as a user would. */
export function startCommand(
  program: 'main' | 'cli',
  args: readonly string[],
  { environment = {}, folder, stdin }: RunOptions = {},
): ChildProcessWithoutNullStreams {
  const file = fileURLToPath(new URL(`../src/${program}.js`, import.meta.url));
  const child = spawn(process.execPath, ['--enable-source-maps', file, ...args], {
    ...(folder !== undefined && { cwd: folder }),
    env: { ...process.env, ...environment },
  });
  killAtExit(child);
  child.stdin.on('error', () => undefined); // a command may end before it has read all
  child.stdin.end(stdin);
  return child;
}

/** Runs a program to its end. */
export async function runCommand(
  program: 'main' | 'cli',
  args: readonly string[],
  options?: RunOptions,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = startCommand(program, args, options);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, stdout, stderr };
}
