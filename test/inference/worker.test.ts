import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readManifest, choosePrecision } from '../../src/inference/bundle.js';
import type { BundleManifest } from '../../src/inference/manifest.js';
import {
  isMessageFromWorker,
  type MessageFromWorker,
  type MessageToWorker,
} from '../../src/inference/messages.js';
import { defaultBundle, itemOf, loadCommand, readDefaultManifest } from './default-bundle.js';

const entry = fileURLToPath(new URL('../../src/inference/worker.js', import.meta.url));

/** The colours that cause the test faults of worker.ts. */
const crashing = [1, 254, 13];
const hanging = [1, 254, 14];

class Worker {
  readonly child: ChildProcess;

  constructor(env: NodeJS.ProcessEnv = {}) {
    this.child = fork(entry, {
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, ...env },
    });
  }

  send(message: MessageToWorker): void {
    this.child.send(message);
  }

  /** Waits for the next message of one of these types. */
  async next(...types: MessageFromWorker['type'][]): Promise<MessageFromWorker> {
    for (;;) {
      const received: unknown[] = await once(this.child, 'message');
      const [message] = received;
      if (isMessageFromWorker(message) && types.includes(message.type)) return message;
    }
  }
}

describe('an inference process', () => {
  let manifest: BundleManifest;
  const workers: Worker[] = [];
  function start(env?: NodeJS.ProcessEnv): Worker {
    const worker = new Worker(env);
    workers.push(worker);
    return worker;
  }
  function plain(colour: readonly number[]): Uint8Array {
    const { width, height } = manifest.image;
    return Uint8Array.from({ length: width * height * 3 }, (_, index) => colour[index % 3] ?? 0);
  }

  before(async () => {
    manifest = await readDefaultManifest();
  });
  after(() => {
    for (const { child } of workers) child.kill('SIGKILL');
  });

  it('warms up, answers batches in order, sends heartbeats, ignores signals and exits with its parent', async () => {
    const worker = start();
    worker.send(loadCommand(choosePrecision(manifest, 'cpu')));
    const ready = await worker.next('ready', 'refused');
    assert.ok(ready.type === 'ready', JSON.stringify(ready));
    assert.ok(ready.warmUpMs.single > 0 && ready.warmUpMs.largest > 0);
    await worker.next('heartbeat');

    worker.child.kill('SIGTERM');
    worker.child.kill('SIGINT');
    worker.send({ type: 'batch', batchId: 7, items: [itemOf(plain([200, 30, 30]), manifest)] });
    worker.send({
      type: 'batch',
      batchId: 8,
      items: [
        itemOf(plain(crashing), manifest), // Without the test faults, this is an image like any other.
        itemOf(plain([0, 0, 0]), manifest, { avoidWords: ['two words'] }),
      ],
    });
    const first = await worker.next('answers');
    const second = await worker.next('answers');
    assert.ok(first.type === 'answers' && second.type === 'answers');
    assert.deepEqual([first.batchId, second.batchId], [7, 8]);
    assert.deepEqual(
      [...first.answers, ...second.answers].map((answer) => (answer.ok ? 'ok' : answer.code)),
      ['ok', 'ok', 'invalid_option'],
    );

    worker.child.disconnect();
    assert.deepEqual(await once(worker.child, 'exit'), [0, null]);
  });

  it('refuses a bundle with one changed byte, and names the file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pcm-caption-changed-'));
    await cp(defaultBundle, folder, { recursive: true });
    const precision = choosePrecision(manifest, 'cpu');
    const name = manifest.precisions[precision]?.decoder ?? '';
    const bytes = await readFile(join(folder, name));
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await writeFile(join(folder, name), bytes);

    const worker = start();
    worker.send({ ...loadCommand(precision), bundlePath: folder });
    const answer = await worker.next('ready', 'refused');
    assert.deepEqual(answer, { type: 'refused', message: `${name} differs from its SHA-256 in bundle.json` });
    await once(worker.child, 'exit');
  });

  it('refuses a bundle whose digest is not the expected one', async () => {
    const { digest } = await readManifest(defaultBundle);
    const command = loadCommand(choosePrecision(manifest, 'cpu'));
    const matching = start();
    matching.send({ ...command, bundleDigest: digest });
    assert.equal((await matching.next('ready', 'refused')).type, 'ready');
    const other = start();
    other.send({ ...command, bundleDigest: digest.replace(/^./, 'x') });
    const answer = await other.next('ready', 'refused');
    assert.ok(answer.type === 'refused');
    assert.match(answer.message, /bundle\.json has changed .* SIGHUP/);
  });

  it('refuses an execution provider that does not exist', async () => {
    const worker = start();
    worker.send({ ...loadCommand(choosePrecision(manifest, 'cpu')), provider: 'nonesuch' });
    const answer = await worker.next('ready', 'refused');
    assert.ok(answer.type === 'refused');
    assert.match(answer.message, /provider nonesuch/);
  });

  it('crashes and hangs on the colours of the test faults when these are switched on', async () => {
    const load = loadCommand(choosePrecision(manifest, 'cpu'));
    const crash = start({ PCM_CAPTION_TEST_FAULTS: '1' });
    crash.send(load);
    await crash.next('ready');
    crash.send({ type: 'batch', batchId: 1, items: [itemOf(plain(crashing), manifest)] });
    assert.deepEqual(await once(crash.child, 'exit'), [null, 'SIGKILL']);

    const hang = start({ PCM_CAPTION_TEST_FAULTS: '1' });
    hang.send(load);
    await hang.next('ready');
    hang.send({ type: 'batch', batchId: 1, items: [itemOf(plain(hanging), manifest)] });
    hang.child.disconnect(); // Its event loop is blocked, so it does not notice.
    hang.child.kill('SIGKILL');
    assert.deepEqual(await once(hang.child, 'exit'), [null, 'SIGKILL']);
  });
});
