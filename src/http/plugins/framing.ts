import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { ServiceError } from '../../errors.js';

/**
 * What Node leaves open about where a request goes and where its body ends. A request that two programs on its way may read
 * in two ways is refused (RFC 9112, 3.2 and 6.1). `100 Continue` is sent when the body is wanted, so that a client that
 * asks first does not send what is refused.
 */
export const framingPlugin = fp((app: FastifyInstance, _options: object, done: () => void) => {
  const expecting = new WeakSet<IncomingMessage>();
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    expecting.add(request);
    app.server.emit('request', request, response);
  });
  // Other expectations may be ignored (RFC 9110, 10.1.1).
  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    app.server.emit('request', request, response);
  });
  app.addHook('onRequest', (request, _reply, next) => {
    next(ambiguity(request.raw));
  });
  // The hooks that may refuse a request have run; the body is read next.
  app.addHook('preParsing', (request, reply, payload, next) => {
    if (expecting.has(request.raw)) reply.raw.writeContinue();
    next(null, payload);
  });
  done();
});

function ambiguity({ rawHeaders, headers, httpVersion }: IncomingMessage): ServiceError | undefined {
  const hosts = rawHeaders.filter((text, index) => index % 2 === 0 && text.toLowerCase() === 'host');
  if (hosts.length > 1 || (hosts.length === 0 && httpVersion === '1.1'))
    return new ServiceError('malformed_request', 'There must be one Host field.');
  const coding = headers['transfer-encoding'] ?? 'chunked';
  if (coding.toLowerCase() === 'chunked') return undefined;
  return new ServiceError('malformed_request', 'The only Transfer-Encoding that is taken is chunked.');
}
