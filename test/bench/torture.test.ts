import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { test, type TestContext } from 'node:test';
import { MemoryWatch } from '../../bench/torture/memory.js';
import { RequestFates } from '../../bench/torture/request-fates.js';
import { postImage } from '../../bench/torture/requests.js';
import { CrossTally, Tally } from '../../bench/torture/tally.js';

async function listen(t: TestContext, answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return `http://127.0.0.1:${address.port}`;
}

test('a request that gets no answer, or a part of one, is told from those that do', async (t) => {
  const post = async (answer: RequestListener) =>
    (await postImage(await listen(t, answer), Buffer.from('a'), 'body', { waitMs: 50 })).outcome;
  assert.equal(await post(() => undefined), 'no answer in 0.05 s');
  assert.equal(await post((_request, response) => response.write('{')), 'no answer in 0.05 s');
  assert.match(await post((request) => request.destroy()), /^no answer: ./);
  assert.equal(await post((_request, response) => response.end('{')), '200 no problem document');
});

test('a client that leaves is no request without an answer', async (t) => {
  const url = await listen(t, () => undefined);
  const options = { signal: AbortSignal.timeout(50) };
  await assert.rejects(postImage(url, Buffer.from('a'), 'body', options), { name: 'TimeoutError' });
});

test('what is admitted has to be answered right, all of it, and what is turned away need not', () => {
  const fates = new RequestFates();
  fates.add('single', 'torture-0', ['own'], ['own']);
  fates.add('single', 'torture-1', ['503 queue_full'], ['own']);
  fates.add('single', 'torture-2', ['no answer in 280 s'], ['own']);
  fates.add('batch', 'torture-3', ['own', '503 queue_full'], ['own']);
  fates.add('batch', 'torture-4', ['own', 'own'], ['own']);
  assert.deepEqual(fates.failures, [
    'single torture-2: no answer in 280 s',
    'batch torture-3: 503 queue_full',
  ]);
});

test('each request has to be answered once by the log', () => {
  const fates = new RequestFates();
  const log = new Tally();
  for (const [number, times] of [1, 2, 0].entries()) {
    fates.add('single', `torture-${number}`, ['own'], ['own']);
    for (let time = 0; time < times; time += 1) log.add(`torture-${number}`);
  }
  assert.deepEqual(fates.notOnce(log), [
    'single torture-1 was answered 2 times by the log',
    'single torture-2 was answered 0 times by the log',
  ]);
  assert.match(fates.table(log), /^\| single +\| +0 \| +3 \| +1 \|$/m);
});

test('memory may grow while the service warms up, and by a quarter after that', () => {
  const grown = (...mebibytes: number[]) => {
    const memory = new MemoryWatch(1 / 2);
    for (const figure of mebibytes) memory.add(figure);
    return memory.failures.length;
  };
  assert.equal(grown(100, 400, 450, 500), 0);
  assert.equal(grown(400, 300, 300, 501), 1);
  assert.equal(grown(400), 1, 'a bound that was never looked at is not kept');
});

test('what has two properties is counted by both', () => {
  const tally = new CrossTally();
  for (const [row, column] of [
    ['png', 'truncate'],
    ['png', 'splice'],
    ['jpeg', 'splice'],
  ] as const) {
    tally.add(row, column);
  }
  assert.deepEqual(tally.table('format').replaceAll(/ +/g, ' ').split('\n').slice(2), [
    '| jpeg | 1 | 0 | 1 |',
    '| png | 1 | 1 | 2 |',
    '| all | 2 | 1 | 3 |',
  ]);
});
