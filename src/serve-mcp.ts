import { readFile, stat } from 'node:fs/promises';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { Registry } from 'prom-client';
import type { Config } from './config.js';
import { ServiceError } from './errors.js';
import { createLogger } from './logger.js';
import { deadlineExceeded } from './promises.js';
import { createMcpServer } from './protocols/mcp/tools.js';
import { startCaptioner } from './start-captioner.js';

/** Serves the tools of MCP over standard input and output, until the input ends. */
export async function serveMcp(config: Config): Promise<void> {
  // Standard output belongs to the protocol.
  const logger = await createLogger(config.logLevel, process.stderr);
  const running = await startCaptioner(config, logger, new Registry());
  const { captioner, scheduler } = running;
  const handle = serveStdio(() =>
    createMcpServer({
      captioner,
      async withContext(work) {
        const permit = scheduler.admit(1);
        const timeout = new AbortController();
        const timer = setTimeout(() => {
          timeout.abort(deadlineExceeded());
        }, config.requestTimeoutMs);
        try {
          return await work({
            permit,
            priority: 'single',
            client: 'stdio',
            signal: timeout.signal,
            startedAt: performance.now(),
          });
        } finally {
          clearTimeout(timer);
          permit.release();
        }
      },
      problemOf(error) {
        if (error instanceof ServiceError) return error;
        logger.error({ err: error }, 'unexpected error');
        return new ServiceError('internal', 'The tool failed; standard error says why.');
      },
      readFile: (path) => readImage(path, config.maxBodyBytes),
    }),
  );
  await new Promise((resolve) => {
    process.stdin.once('close', resolve).once('end', resolve);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve);
  });
  await handle.close();
  await running.close();
}

/** Reads a file of the user. Throws ServiceError not_found | body_too_large. */
async function readImage(path: string, maxBytes: number): Promise<Buffer> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() !== true) throw new ServiceError('not_found', 'There is no such file.');
  if (found.size > maxBytes)
    throw new ServiceError('body_too_large', `The file has more than ${maxBytes} bytes.`);
  return readFile(path);
}
