import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pRetry from 'p-retry';
import { killAtExit } from '../run-command.js';

/** A server of the test's own, which can be killed and started again on the same port with the same data. */
export interface KillableServer {
  readonly port: number;
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** @param command starts the server on a port with its data in a folder */
export async function startServer(
  t: TestContext,
  command: (port: number, folder: string) => readonly [program: string, args: readonly string[]],
  environment: Readonly<Record<string, string>> = {},
  account: Readonly<{ uid?: number; gid?: number }> = {},
): Promise<KillableServer> {
  const folder = await mkdtemp(join(tmpdir(), 'pcm-caption-jobs-'));
  const port = await freePort();
  let child: ChildProcess | undefined;
  async function kill(): Promise<void> {
    if (child?.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  async function startOnce(): Promise<void> {
    const [program, args] = command(port, folder);
    const started = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, ...environment },
      ...account,
    });
    killAtExit(started);
    child = started;
    await Promise.race([
      answers(port),
      once(started, 'exit').then(() => Promise.reject(new Error(`${program} ended`))),
    ]);
  }
  /** PostgreSQL does not start while processes of the one that was killed are still there. */
  const start = (): Promise<void> => pRetry(startOnce, { retries: 20, factor: 1, minTimeout: 250 });
  await start();
  t.after(async () => {
    await kill();
    await rm(folder, { recursive: true, force: true });
  });
  return { port, kill, start };
}

export interface QueueServer extends KillableServer {
  readonly url: string;
}

/** Redis with its append-only file on. */
export async function startRedis(t: TestContext): Promise<QueueServer> {
  const server = await startServer(t, (port, folder) => [
    'redis-server',
    [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      folder,
      '--appendonly',
      'yes',
      '--save',
      '',
      '--loglevel',
      'warning',
    ],
  ]);
  return { ...server, url: `redis://127.0.0.1:${server.port}` };
}

/** PostgreSQL, which refuses to run as root: under the account that Debian's package makes. */
export async function startPostgres(t: TestContext): Promise<QueueServer> {
  const account = { uid: idOf('-u'), gid: idOf('-g') };
  const server = await startServer(
    t,
    (port, folder) => {
      if (!existsSync(join(folder, 'PG_VERSION'))) {
        chownSync(folder, account.uid, account.gid);
        execFileSync('initdb', ['-D', folder, '-U', 'jobs', '-A', 'trust'], { ...account, stdio: 'ignore' });
      }
      return [
        'postgres',
        [
          '-D',
          folder,
          '-p',
          String(port),
          '-k',
          folder,
          '-c',
          'listen_addresses=127.0.0.1',
          '-c',
          'log_min_messages=panic',
        ],
      ];
    },
    {},
    account,
  );
  return { ...server, url: `postgres://jobs@127.0.0.1:${server.port}/postgres` };
}

function idOf(which: '-u' | '-g'): number {
  return Number(execFileSync('id', [which, 'postgres'], { encoding: 'utf8' }));
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('a server has no port');
  return address.port;
}

async function answers(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const [event] = await Promise.race([
      once(socket, 'connect').then(() => ['connect']),
      once(socket, 'error').then(() => ['error']),
    ]).catch(() => ['error']);
    socket.destroy();
    if (event === 'connect') return;
    await sleep(50);
  }
}
