import assert from 'node:assert/strict';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { Compile } from 'typebox/compile';
import { type CaptionResult, CaptionResultSchema } from '../src/captioner/results.js';
import { formOf } from './http/service.js';
import { photos } from './photos.js';
import { RunningService } from './running-service.js';

/** Nothing here is late or turned away, however slow the machine is: what is tested is that nothing is lost. */
const environment = {
  CACHE_SIZE: '0',
  WORKERS: '2',
  MAX_QUEUE_IMAGES: '400',
  REQUEST_TIMEOUT_MS: '600000',
  HEADERS_TIMEOUT_MS: '60000',
  SHUTDOWN_GRACE_MS: '600000',
};
/** The cheapest caption there is: what is tested is not what it says. */
const options: [string, string][] = [
  ['candidates', '1'],
  ['beamSize', '1'],
  ['maxLength', '6'],
];
const resultCheck = Compile(CaptionResultSchema);

/** Distinct photos, each asked for several times. */
const files = await photos(25);
const many = 200;

interface Asked {
  readonly photo: number;
  /** The `x-request-id` it was sent with. */
  readonly id: string;
  readonly answer: Promise<CaptionResult>;
}

describe('under load', () => {
  let service: RunningService;
  /** What each photo is answered when nothing else is asked. */
  const alone: CaptionResult[] = [];
  let asked = 0;
  /** The ids of all requests that were answered with their own captions. */
  const captioned: string[] = [];

  async function read(response: Response): Promise<CaptionResult> {
    const body = await response.text();
    assert.equal(response.status, 200, body);
    const result: unknown = JSON.parse(body);
    assert.ok(resultCheck.Check(result), body);
    return result;
  }

  function ask(signal?: AbortSignal, fields = options): Asked {
    const number = asked++;
    const photo = number % files.length;
    const id = `load-${number}`;
    const answer = fetch(`${service.url}/v1/captions`, {
      method: 'POST',
      headers: { 'x-request-id': id },
      body: formOf(...fields, ['image', files[photo] ?? Buffer.alloc(0)]),
      ...(signal !== undefined && { signal }),
    }).then(read);
    // Awaited together, later.
    answer.catch(() => undefined);
    return { photo, id, answer };
  }

  const askMany = (count: number, signal?: AbortSignal, fields = options): Asked[] =>
    Array.from({ length: count }, () => ask(signal, fields));

  /** Every caption is that of its own photo, whoever shared its batch. */
  async function assertOwnCaptions(requests: readonly Asked[]): Promise<void> {
    for (const { photo, id, answer } of requests) {
      assertOwnCaption(photo, await answer);
      captioned.push(id);
    }
  }

  function assertOwnCaption(photo: number, { caption, logProb, clipScore, image }: CaptionResult): void {
    const own = alone[photo];
    assert.ok(own !== undefined);
    assert.deepEqual({ caption, image }, { caption: own.caption, image: own.image });
    assert.ok(Math.abs(logProb - own.logProb) <= 1e-3, `photo ${photo}: ${logProb}, alone ${own.logProb}`);
    assert.ok(
      Math.abs(clipScore - own.clipScore) <= 1e-3,
      `photo ${photo}: ${clipScore}, alone ${own.clipScore}`,
    );
  }

  before(async () => {
    service = await RunningService.start(environment);
    while (alone.length < files.length) alone.push(await ask().answer);
    // Otherwise the answer to another photo would pass for a photo's own.
    assert.equal(
      new Set(alone.map(({ logProb, clipScore }) => `${logProb.toFixed(3)} ${clipScore.toFixed(3)}`)).size,
      files.length,
    );
  });
  after(() => service.child.kill('SIGKILL'));

  for (const [signal, reason] of [
    ['SIGKILL', 'crash'],
    ['SIGSTOP', 'hang'],
  ] as const) {
    test(`${signal} of a worker costs none of ${many} requests`, async () => {
      const requests = askMany(many);
      await Promise.race(requests.map(({ answer }) => answer));
      const [victim = NaN] = service.workers.slice(-2);
      process.kill(victim, signal);
      await assertOwnCaptions(requests);
      await service.metricIs(
        `pcm_caption_worker_restarts_total{reason="${reason}"}`,
        (restarts) => restarts === 1,
      );
      await service.metricIs('pcm_caption_workers_ready', (ready) => ready === 2);
      assert.equal(await service.metric('pcm_caption_slots_used'), 0);
    });
  }

  test('clients that disconnect free their slots, and the others are answered', async () => {
    const client = new AbortController();
    // What takes the model longer than the decoder, so that many wait when they leave.
    const leaving = askMany(80, client.signal, []);
    const staying = askMany(40);
    await service.metricIs('pcm_caption_queue_images', (waiting) => waiting >= 20);
    client.abort();
    const ends = await Promise.allSettled(leaving.map(({ answer }) => answer));
    assert.ok(ends.some(({ status }) => status === 'rejected'));
    await assertOwnCaptions(staying);
    await service.metricIs('pcm_caption_slots_used', (used) => used === 0);
    const gone = await service.metric('pcm_caption_dropped_images_total{reason="gone"}');
    assert.ok(gone > 0 && gone <= leaving.length, `${gone} were dropped`);
  });

  test('clients that are slow to send hold no batch: others are answered in the meantime, and they in the end', async (t) => {
    const slow = Array.from({ length: 20 }, (_, number) => beginSlowly(service.url, number % files.length));
    t.after(() => {
      for (const { upload } of slow) upload.destroy();
    });
    await service.metricIs('pcm_caption_slots_used', (used) => used === slow.length);
    await assertOwnCaptions(askMany(40));
    assert.equal(await service.metric('pcm_caption_slots_used'), slow.length);
    for (const { photo, finish } of slow) {
      const result: unknown = JSON.parse(await text(await finish()));
      assert.ok(resultCheck.Check(result), JSON.stringify(result));
      assertOwnCaption(photo, result);
    }
  });

  test('SIGTERM loses nothing of what was sent before it, and no request of all was answered twice', async () => {
    const requests = askMany(50);
    // All have been admitted: what is not answered yet has a slot.
    let answered = 0;
    for (const { answer } of requests) void answer.then(() => (answered += 1));
    await service.metricIs('pcm_caption_slots_used', (used) => used + answered >= requests.length);
    assert.ok(answered < requests.length, 'the signal comes in the middle');
    service.child.kill('SIGTERM');
    assert.equal(await service.exited, 0);
    await assertOwnCaptions(requests);

    const answers = new Map<string, number>();
    for (const [, id = ''] of service.log.matchAll(/"reqId":"(load-\d+)".*"msg":"answered"/g))
      answers.set(id, (answers.get(id) ?? 0) + 1);
    for (const id of captioned) assert.equal(answers.get(id), 1, id);
    assert.ok([...answers.values()].every((count) => count === 1));
  });
});

/** An upload of which half is sent, and the rest when it is finished. */
function beginSlowly(
  url: string,
  photo: number,
): { readonly photo: number; readonly upload: ClientRequest; finish: () => Promise<IncomingMessage> } {
  const bytes = files[photo] ?? Buffer.alloc(0);
  const query = new URLSearchParams(options).toString();
  const upload = request(`${url}/v1/captions?${query}`, {
    method: 'POST',
    headers: { 'content-type': 'image/jpeg', 'content-length': bytes.length },
  });
  const half = Math.floor(bytes.length / 2);
  upload.write(bytes.subarray(0, half));
  return {
    photo,
    upload,
    finish: () =>
      new Promise((resolve, reject) => {
        upload.once('response', resolve);
        upload.once('error', reject);
        upload.end(bytes.subarray(half));
      }),
  };
}
