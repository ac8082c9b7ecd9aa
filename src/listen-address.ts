import { once } from 'node:events';
import { createServer } from 'node:net';

/** The settings HOST and PORT. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Listens for a moment. Says why the service could not listen there; undefined where it could. */
export async function findAddressProblem(address: ListenAddress): Promise<string | undefined> {
  const server = createServer((socket) => socket.destroy());
  try {
    server.listen(address);
    await once(server, 'listening');
  } catch (error) {
    return describeListenError(error, address);
  }
  server.close();
  await once(server, 'close');
  return undefined;
}

/** Says in terms of the settings why listening failed. */
export function describeListenError(error: unknown, { host, port }: ListenAddress): string {
  const message = error instanceof Error ? error.message : String(error);
  switch (error instanceof Error && 'code' in error ? error.code : undefined) {
    case 'EADDRINUSE':
      return `PORT=${port} is taken on ${host}: end what listens there, or set another PORT (0 takes a free one)`;
    case 'EACCES':
      return `PORT=${port} is not allowed to this user: set another, from 1024 up`;
    case 'EADDRNOTAVAIL':
      return `HOST=${host} is not an address of this machine: it takes one that is, or 0.0.0.0 for all`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `HOST=${host} is not found: it takes an address of this machine, or 0.0.0.0 for all`;
    default:
      return `HOST=${host} and PORT=${port} cannot be listened on: ${message}`;
  }
}
