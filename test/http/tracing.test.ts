import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quarters } from '../images/drawn.js';
import { formOf, json, startService } from './service.js';
import { traceIdOf } from '../../src/http/request-log.js';

const photo = await quarters().jpeg().toBuffer();
const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;

test('Server-Timing tells the stages of `timing`, in milliseconds', async (t) => {
  const { url } = await startService(t);
  for (const [path, form, stages] of [
    ['captions', formOf(['image', photo]), 'encode;dur=2, mixup;dur=1, caption;dur=3, score;dur=0.5'],
    ['scores', formOf(['image', photo], ['texts', 'red']), 'encode;dur=2, score;dur=0.5'],
  ] as const) {
    const response = await fetch(`${url}/v1/${path}`, { method: 'POST', body: form });
    const { timing } = await json(response);
    assert.ok(typeof timing === 'object' && timing !== null && 'decodeMs' in timing && 'totalMs' in timing);
    const { decodeMs, totalMs } = timing;
    assert.equal(
      response.headers.get('server-timing'),
      `queue;dur=1.25, decode;dur=${String(decodeMs)}, ${stages}, total;dur=${String(totalMs)}`,
    );
  }
});

test('the trace of a request stands in every line that is logged for it, a refusal too', async (t) => {
  const { url, log } = await startService(t);
  await fetch(`${url}/v1/models`, { headers: { traceparent } });
  await fetch(`${url}/v1/captions`, { method: 'POST', headers: { traceparent } });
  const lines = log()
    .split('\n')
    .filter((line) => /"msg":"(refused|answered)"/.test(line));
  assert.equal(lines.length, 2);
  for (const line of lines) assert.match(line, new RegExp(`"trace_id":"${traceId}"`));
});

test('no trace is made up where none is sent, or one that is not valid', async (t) => {
  const { url, log } = await startService(t);
  await fetch(`${url}/healthz`);
  await fetch(`${url}/healthz`, { headers: { traceparent: `00-${'0'.repeat(32)}-00f067aa0ba902b7-01` } });
  assert.match(log(), /"msg":"answered"/);
  assert.doesNotMatch(log(), /trace_id/);
});

test('traceparent is read as W3C Trace Context says', () => {
  assert.equal(traceIdOf(traceparent), traceId);
  assert.equal(traceIdOf(`cc${traceparent.slice(2)}-what-comes-later`), traceId, 'of a later version');
  for (const invalid of [
    undefined,
    '',
    traceId,
    `ff${traceparent.slice(2)}`,
    `${traceparent}-more`,
    `cc${traceparent.slice(2)}.more`,
    traceparent.toUpperCase(),
    traceparent.slice(0, -1),
    ` ${traceparent}\n`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    [traceparent, traceparent],
  ]) {
    assert.equal(traceIdOf(invalid), undefined, String(invalid));
  }
});
