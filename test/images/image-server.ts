import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

export interface ImageServer {
  readonly url: string;
  readonly port: number;
  /** Paths asked for, in order. */
  readonly asked: readonly string[];
}

/** A web server on an address of this machine, until the test ends. */
export async function serveImages(
  t: TestContext,
  listener: RequestListener,
  { address = '127.0.0.1', port = 0 } = {},
): Promise<ImageServer> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    listener(request, response);
  });
  server.listen(port, address);
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const bound: string | AddressInfo | null = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the server has no port');
  return { url: `http://${address}:${bound.port}`, port: bound.port, asked };
}
