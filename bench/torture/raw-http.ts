import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** Longer than any request may take by the default `REQUEST_TIMEOUT_MS`. */
const longestWaitMs = 120_000;

/** Connects to the service. Errors of the connection show as its end. */
export function connectTo(url: string): Socket {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  return socket;
}

/** Writes bytes as they stand, as fast as they are taken; those that a closed connection does not take are dropped. */
export async function write(socket: Socket, ...parts: readonly (string | Buffer)[]): Promise<void> {
  for (const part of parts) {
    if (socket.destroyed) return;
    if (!socket.write(part)) await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
  }
}

/** Status and code of the first answer on a connection that both sides close, or in words that none came. */
export async function exchange(url: string, ...parts: readonly (string | Buffer)[]): Promise<string> {
  const socket = connectTo(url);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const closed = once(socket, 'close');
  let otherwise = 'closed without an answer';
  const timer = setTimeout(() => {
    otherwise = `no answer in ${longestWaitMs / 1000} s`;
    socket.destroy();
  }, longestWaitMs);
  await write(socket, ...parts);
  await closed;
  clearTimeout(timer);
  const answer = Buffer.concat(chunks).toString('latin1');
  const status = /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1];
  if (status === undefined) return otherwise;
  const code = /"code":"(\w+)"/.exec(answer)?.[1];
  return Number(status) < 400 || code === undefined ? status : `${status} ${code}`;
}

/** The header fields of a POST, after whose answer the connection ends. */
export function headOf(path: string, type: string, length: number): string {
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n`;
}
