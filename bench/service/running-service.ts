import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { BenchError } from '../figures/figure.js';

/** This checkout's service. */
export const builtService = fileURLToPath(new URL('../../src/main.js', import.meta.url));

export interface RunningService {
  /** `http://127.0.0.1:…`, without a slash at the end. */
  readonly url: string;
  readonly pid: number;
  /** Milliseconds from the start of the process to the first 200 of /readyz. */
  readonly startToReadyMs: number;
  /** Ends it with SIGTERM. Throws BenchError when it does not exit with 0. */
  stop(): Promise<void>;
}

/**
 * Starts the service as a user would, on a free port.
 * @param main compiled main file of the version to start
 * @param onLogLine gets the log line by line; the last one before `stop` resolves
 * @param cgroup file to which it writes its number before it starts
 * @throws BenchError with its last words when it ends before it is ready
 */
export async function startService(
  main: string,
  environment: Readonly<Record<string, string | undefined>>,
  onLogLine: (line: string) => void = () => undefined,
  cgroup = '/dev/null',
): Promise<RunningService> {
  const started = performance.now();
  const command = [process.execPath, '--enable-source-maps', main];
  const child = spawn('sh', ['-c', 'echo $$ >"$0" && exec "$@"', cgroup, ...command], {
    env: { ...environment, HOST: '127.0.0.1', PORT: '0', LOG_LEVEL: 'info' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'close'); // when its log has been read, too
  const killWithUs = (): void => void child.kill('SIGKILL');
  process.once('exit', killWithUs);
  void exited.then(() => process.off('exit', killWithUs));

  const words: string[] = [];
  createInterface(child.stderr).on('line', (line) => {
    words.push(line);
    words.splice(0, words.length - 20);
  });
  // Its log is read to the end, as a collector of logs would.
  const log = createInterface(child.stdout);
  log.on('line', onLogLine);
  const url = await addressIn(log);
  if (url === undefined || child.pid === undefined) {
    await exited;
    throw new BenchError(`the service did not start:\n${words.join('\n')}`);
  }
  const { status } = await fetch(`${url}/readyz`);
  if (status !== 200) throw new BenchError(`the service listens but /readyz says ${status}`);
  return {
    url,
    pid: child.pid,
    startToReadyMs: performance.now() - started,
    async stop() {
      child.kill('SIGTERM');
      await exited;
      if (child.exitCode !== 0) {
        throw new BenchError(
          `the service ended with exit code ${String(child.exitCode)}:\n${words.join('\n')}`,
        );
      }
    },
  };
}

/** The address that Fastify logs once it listens; undefined when the log ends without one. */
async function addressIn(log: Interface): Promise<string | undefined> {
  return new Promise((resolve) => {
    log.on('line', (line) => {
      const address = /Server listening at (http:[^"\s]+)/.exec(line)?.[1];
      if (address !== undefined) resolve(address);
    });
    log.on('close', () => {
      resolve(undefined);
    });
  });
}
