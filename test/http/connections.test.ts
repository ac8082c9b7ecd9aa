import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import Fastify from 'fastify';
import { connectionsPlugin } from '../../src/http/plugins/connections.js';
import { beginUpload, responseTo } from './upload.js';

test('the rest of a refused body is waited for only so long', { timeout: 20_000 }, async (t) => {
  const app = Fastify();
  t.after(() => app.close());
  await app.register(connectionsPlugin, {
    maxConnections: 100,
    lingerBytes: 1_000_000,
    lingerMs: 50,
    silentMs: 50,
  });
  app.addHook('onRequest', (_request, reply) => reply.code(503).send({ code: 'refused' }));
  app.post('/', () => 'never');
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const upload = beginUpload(url, 'application/json', 1000);
  const closed = once(upload, 'close');
  assert.equal((await responseTo(upload)).status, 503);
  upload.write('{');
  await closed;
});

test(
  'a connection that was never used does not hold up the end of the server',
  { timeout: 20_000 },
  async (t) => {
    const app = Fastify();
    await app.register(connectionsPlugin, { maxConnections: 100, lingerBytes: 0, lingerMs: 0, silentMs: 50 });
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    t.after(() => app.close());
    const connected = once(app.server, 'connection');
    const unused = connect(Number(new URL(url).port), '127.0.0.1');
    t.after(() => unused.destroy());
    await connected;
    const ended = once(unused.resume(), 'close');
    await app.close();
    await ended;
  },
);
