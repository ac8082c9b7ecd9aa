import { type Logger, pino } from 'pino';

/** Logs JSON, a line for each event; on a terminal lines that a person can read. */
export async function createLogger(
  level: string,
  stream: NodeJS.WriteStream & { readonly fd: number } = process.stdout,
): Promise<Logger> {
  if (!stream.isTTY) return pino({ level }, pino.destination(stream.fd));
  // Loaded here, since a service in production needs none of it.
  const { default: pretty } = await import('pino-pretty');
  const options = { ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss', singleLine: true };
  return pino({ level }, pretty({ ...options, destination: stream.fd, sync: true }));
}
