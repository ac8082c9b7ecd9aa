import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

const workerProcess = new URL('../../src/scheduler/worker-process.js', import.meta.url).href;
const decodeProcess = new URL('../../src/images/decode-process.js', import.meta.url).href;
const decodeWorker = new URL('../../src/images/decode-worker.js', import.meta.url).href;
const fakeWorker = new URL('./fake-worker.js', import.meta.url).href;

/** Uses up the open files, starts a process, frees them and starts another; prints how the first ended. */
const script = `
import { closeSync, openSync } from 'node:fs';
const { DecodeProcess } = await import('${decodeProcess}');
const { startWorker } = await import('${workerProcess}');
const logger = { debug() {}, info() {}, warn() {}, error() {} };
const timings = { startTimeoutMs: 10000, hangTimeoutMs: 10000, stopTimeoutMs: 100 };
const open = [];
try { for (;;) open.push(openSync('/dev/null')); } catch {}
const failed = startWorker(new URL('${fakeWorker}'), { type: 'load', heartbeatMs: 500 }, timings, logger);
const decoder = new DecodeProcess(new URL('${decodeWorker}'), logger);
const { message } = await failed.ended;
await failed.stop();
await decoder.ended;
const isReady = await decoder.ready;
for (const file of open) closeSync(file);
const next = startWorker(new URL('${fakeWorker}'), { type: 'load', heartbeatMs: 500 }, timings, logger);
console.log(message, isReady, next.pid > 0);
await next.stop();
`;

test('a process that cannot be started, as there are no files left to open, is one that ended', async () => {
  const node = `ulimit -n 100; exec "${process.execPath}" --input-type=module -e "$SCRIPT"`;
  const { stdout } = await promisify(execFile)('sh', ['-c', node], {
    env: { ...process.env, SCRIPT: script },
  });
  assert.equal(stdout, `could not be started: spawn ${process.execPath} EMFILE false true\n`);
});
