import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { formOf } from './http/service.js';
import { killAtExit } from './run-command.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The service as users start it: its own process, the embedded bundle, a free port; with one inference process, to start soon. */
export class RunningService {
  /** Resolves with the exit code, once the log has been read to its end. */
  readonly exited: Promise<number | null>;
  #log = '';

  private constructor(
    readonly child: ChildProcess,
    readonly url: string,
  ) {
    this.exited = new Promise((resolve) => child.once('close', resolve));
  }

  static async start(environment: Record<string, string> = {}): Promise<RunningService> {
    const child = spawn(process.execPath, ['--enable-source-maps', 'dist/src/main.js'], {
      cwd: root,
      env: { ...process.env, PORT: '0', WORKERS: '1', ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    killAtExit(child);
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
    service.#log = log;
    lines.on('line', (line) => (service.#log += `${line}\n`));
    return service;
  }

  get log(): string {
    return this.#log;
  }

  /** Process ids of the inference processes that became warm, in that order; those that have ended since among them. */
  get workers(): number[] {
    return [...this.#log.matchAll(/"worker":(\d+),.*"inference process is warm"/g)].map(([, pid]) =>
      Number(pid),
    );
  }

  /** The value of a metric; the name includes the labels, as in `name{label="value"}`. NaN where there is none. */
  async metric(name: string): Promise<number> {
    const lines = (await (await fetch(`${this.url}/metrics`)).text()).split('\n');
    return Number(lines.find((line) => line.startsWith(`${name} `))?.slice(name.length) ?? NaN);
  }

  /** Resolves when a metric has a value, which is looked at ten times a second: every look costs the service time. */
  async metricIs(name: string, condition: (value: number) => boolean): Promise<void> {
    while (!condition(await this.metric(name))) await sleep(100);
  }

  caption(image: Buffer, ...options: [string, string][]): Promise<Response> {
    return fetch(`${this.url}/v1/captions`, { method: 'POST', body: formOf(...options, ['image', image]) });
  }
}
