import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';

export interface ConnectionOptions {
  /** Connections that are open at once; more are closed as they come. */
  readonly maxConnections: number;
  /** Bytes of a refused body that are still read, so that its client gets to read the answer. */
  readonly lingerBytes: number;
  /** How long they are read at most. */
  readonly lingerMs: number;
  /** How long a connection on which nothing was ever sent stays open once the server closes. */
  readonly silentMs: number;
}

/**
 * When connections end.
 *
 * A request can be answered before its body has arrived (no place in the queue, too large). Closing at once would
 * reset the connection, and the client, still sending, would see the reset and not the answer. So the rest is read
 * and thrown away, within bounds (nginx calls it lingering close).
 *
 * Once the server closes, every answer is the last of its connection, so that clients that keep connections open
 * do not hold it up. A connection that was opened in advance, as browsers and balancers do, and never used is no idle one
 * to Node, which stops to mind its own time limits when a server closes: it would hold the server up as long as it likes.
 */
export const connectionsPlugin = fp(
  (
    app: FastifyInstance,
    { maxConnections, lingerBytes, lingerMs, silentMs }: ConnectionOptions,
    done: () => void,
  ) => {
    app.server.maxConnections = maxConnections;
    let closing = false;
    const open = new Set<Socket>();
    app.server.on('connection', (socket: Socket) => {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
    });
    app.addHook('preClose', (next) => {
      closing = true;
      // Not at once: what a client has sent may not have been read yet.
      setTimeout(() => {
        for (const socket of open) if (socket.bytesRead === 0) socket.destroy();
      }, silentMs).unref();
      next();
    });
    app.addHook('onSend', async (request, reply) => {
      const { raw } = request;
      if (raw.complete) {
        if (closing) reply.header('connection', 'close');
        return;
      }
      reply.removeHeader('connection');
      let remaining = lingerBytes;
      const timer = setTimeout(() => raw.destroy(), lingerMs).unref();
      raw.once('close', () => {
        clearTimeout(timer);
      });
      // Whoever was reading will not go on, and what was read so far is let go with the listeners that hold it.
      raw.unpipe();
      for (const event of ['data', 'end', 'error']) raw.removeAllListeners(event);
      raw.on('error', () => undefined);
      // Where the client asks for that, Node would close the connection with the answer, and reset it so.
      if (!reply.raw.shouldKeepAlive) {
        reply.raw.shouldKeepAlive = true;
        const endOnceBoth = (): void => {
          if (raw.complete && reply.raw.writableFinished) raw.socket.end();
        };
        raw.once('end', endOnceBoth);
        reply.raw.once('finish', endOnceBoth);
      }
      raw.on('data', (chunk: Buffer) => {
        remaining -= chunk.length;
        if (remaining < 0) raw.destroy();
      });
      raw.resume();
    });
    done();
  },
);
