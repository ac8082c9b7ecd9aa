import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { formOf } from './http/service.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The service as users start it: its own process, the embedded bundle, a free port. */
export class RunningService {
  readonly exited: Promise<number | null>;
  #log = '';

  private constructor(
    readonly child: ChildProcess,
    readonly url: string,
  ) {
    this.exited = new Promise((resolve) => child.once('exit', resolve));
  }

  static async start(environment: Record<string, string> = {}): Promise<RunningService> {
    const child = spawn(process.execPath, ['--enable-source-maps', 'dist/src/main.js'], {
      cwd: root,
      env: { ...process.env, PORT: '0', ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout });
    let log = '';
    const url = await new Promise<string>((resolve, reject) => {
      lines.on('line', (line) => {
        log += `${line}\n`;
        const listening = /Server listening at (http:[^"]+)/.exec(line)?.[1];
        if (listening !== undefined) resolve(listening);
      });
      child.once('exit', (code) => {
        reject(new Error(`the service ended with ${String(code)} before it listened:\n${log}`));
      });
    });
    const service = new RunningService(child, url);
    lines.on('line', (line) => (service.#log += `${line}\n`));
    return service;
  }

  get log(): string {
    return this.#log;
  }

  caption(image: Buffer, ...options: [string, string][]): Promise<Response> {
    return fetch(`${this.url}/v1/captions`, { method: 'POST', body: formOf(...options, ['image', image]) });
  }
}
