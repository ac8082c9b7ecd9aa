import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { appendFile, cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { Compile } from 'typebox/compile';
import { CaptionResultSchema } from '../src/captioner/results.js';
import { parseManifest } from '../src/inference/manifest.js';
import {
  assertCaptioned,
  assertRefused,
  badInputEnvironment,
  badInputs,
  onePixel,
} from './http/bad-inputs.js';
import { formOf, json } from './http/service.js';
import { beginUpload } from './http/upload.js';
import { photos } from './photos.js';
import { killAtExit, runCommand } from './run-command.js';
import { RunningService } from './running-service.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const resultCheck = Compile(CaptionResultSchema);

describe('the service with the embedded bundle', () => {
  let service: RunningService;

  before(async () => {
    service = await RunningService.start({ ...badInputEnvironment, WORKERS: 'auto' });
  });
  after(async () => {
    service.child.kill('SIGTERM');
    assert.equal(await service.exited, 0);
  });

  test('photos are captioned, each with the whole result of the reference', async () => {
    for (const photo of await photos(4)) {
      const response = await service.caption(photo, ['explain', 'true']);
      const result = await json(response);
      assert.equal(response.status, 200, JSON.stringify(result));
      assert.ok(resultCheck.Check(result), JSON.stringify(resultCheck.Errors(result)));
      assert.match(result.caption ?? '', /^[A-Z][^.]*[^. ]$/);
      assert.equal(result.captions[0]?.text, result.caption);
      assert.equal(result.captions.length, 3);
      const { rows, columns } = result.gridSize ?? { rows: 0, columns: 0 };
      for (const { patches } of result.concepts) assert.equal(patches?.length, rows * columns);
    }
  });

  test('the three ways to send a photo give the same caption', async () => {
    const [photo = Buffer.alloc(0)] = await photos(1);
    const ways: RequestInit[] = [
      { body: formOf(['image', photo]) },
      { headers: { 'content-type': 'image/jpeg' }, body: photo },
      {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ image: photo.toString('base64') }),
      },
    ];
    const captions = new Set<unknown>();
    for (const way of ways) {
      const result = await json(await fetch(`${service.url}/v1/captions`, { method: 'POST', ...way }));
      captions.add(result['caption']);
    }
    assert.equal(captions.size, 1);
    assert.match(String([...captions][0]), /^[A-Z]/);
  });

  test('each bad input gets its problem, and the good photo after it a caption', async (t) => {
    for (const input of badInputs) {
      await t.test(input.name, async () => {
        await assertRefused(service.url, input);
        await assertCaptioned(service.url);
      });
    }
    await t.test('one pixel is captioned', async () => assertCaptioned(service.url, await onePixel()));
  });

  test('/v1/models and /metrics speak of the bundle and of its work', async () => {
    const models = await json(await fetch(`${service.url}/v1/models`));
    const { id, version } = parseManifest(readFileSync(`${root}models/default/bundle.json`, 'utf8'));
    assert.ok(JSON.stringify(models).includes(`"id":"${id}"`));
    assert.ok(JSON.stringify(models).includes(`"version":"${version}"`));
    const metrics = await (await fetch(`${service.url}/metrics`)).text();
    assert.match(metrics, /http_request_duration_seconds_count\{[^}]*status="200"\} \d+/);
    for (const kind of ['serving', 'decode', 'inference'])
      assert.match(metrics, new RegExp(`pcm_caption_process_resident_bytes\\{kind="${kind}"\\} \\d{7}`));
  });
});

test('on a terminal the log is for people, its last line says what to open, and Ctrl-C ends the service', async (t) => {
  const service = [process.execPath, `${root}dist/src/main.js`];
  const [program, ...args]: [string, ...string[]] =
    process.platform === 'linux'
      ? // `exec`, as some shells hear Ctrl-C too and end with a status of their own.
        ['script', '-qefc', `exec '${service.join("' '")}'`, '/dev/null']
      : ['script', '-q', '/dev/null', ...service];
  const child = spawn(program, args, { env: { ...process.env, PORT: '0', NO_COLOR: '1' } });
  t.after(() => child.stdin.write('\x03'));
  killAtExit(child);
  const exited = once(child, 'exit');
  const lines: string[] = [];
  let url: string | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    url = / open (http:\S+) to caption a photo; http:\S+\/docs /.exec(line)?.[1];
    if (url !== undefined) break;
  }
  assert.ok(url, lines.join('\n'));
  assert.match(lines.at(-2) ?? '', /^\[\d\d:\d\d:\d\d\] INFO: Server listening at http/);
  assert.equal((await fetch(url)).headers.get('content-type'), 'text/html; charset=utf-8');
  child.stdin.write('\x03');
  assert.deepEqual(await exited, [0, null]);
});

test('SIGTERM while the model is loaded ends the service with 0', async () => {
  const child = spawn(process.execPath, ['dist/src/main.js'], {
    cwd: root,
    env: { ...process.env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  killAtExit(child);
  const exited = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout })) {
    assert.doesNotMatch(line, /listening/);
    if (line.includes('starting inference processes')) child.kill('SIGTERM');
  }
  assert.deepEqual(await exited, [0, null]);
});

test('SIGTERM finishes what is in flight, takes nothing more, and exits 0', async () => {
  const service = await RunningService.start();
  const images = await photos(6);
  const answers = images.map((image) => service.caption(image));
  // The first answer shows that all are under way; the others are still in the queue or in a batch.
  await Promise.race(answers);
  service.child.kill('SIGTERM');
  for (const response of await Promise.all(answers)) {
    const result = await json(response);
    assert.equal(response.status, 200, JSON.stringify(result));
    assert.match(String(result['caption']), /^[A-Z]/);
  }
  assert.equal(await service.exited, 0);
  await assert.rejects(fetch(`${service.url}/healthz`));
  assert.match(service.log, /finishing what is in flight/);
});

test(
  'SIGTERM waits for a client that does not go on no longer than the grace',
  { timeout: 60_000 },
  async (t) => {
    const service = await RunningService.start({ SHUTDOWN_GRACE_MS: '300', REQUEST_TIMEOUT_MS: '600000' });
    t.after(() => service.child.kill('SIGKILL'));
    const upload = beginUpload(`${service.url}/v1/captions`, 'image/jpeg', 10_000);
    upload.write('half of a photo, and nothing after it');
    const cutOff = new Promise((resolve) => upload.once('close', resolve));
    await service.metricIs('pcm_caption_slots_used', (used) => used === 1);
    service.child.kill('SIGTERM');
    assert.equal(await service.exited, 0);
    await cutOff;
    assert.match(service.log, /the grace is over/);
  },
);

test('processes that crash in a loop leave /healthz at 200 and make /readyz 503 with the reason, until they stay up', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pcm-caption-loop-'));
  t.after(() => rm(folder, { recursive: true }));
  await copyBundle(folder, 'looping');
  const service = await RunningService.start({ MODEL_PATH: folder, PRECISION: 'int8' });
  t.after(() => service.child.kill('SIGKILL'));
  const ready = (): Promise<Response> => fetch(`${service.url}/readyz`);
  assert.equal((await ready()).status, 200);

  const file = join(folder, 'mixup.int8.onnx');
  const whole = await readFile(file);
  await writeFile(file, whole.subarray(1));
  process.kill(service.workers[0] ?? NaN, 'SIGKILL');
  await service.metricIs('pcm_caption_worker_restarts_total{reason="start"}', (count) => count >= 3);
  const problem = await json(await ready());
  assert.deepEqual([problem['status'], problem['code']], [503, 'not_ready']);
  assert.match(String(problem['detail']), /no inference process stays up: mixup\.int8\.onnx/);
  assert.equal((await fetch(`${service.url}/healthz`)).status, 200);
  const [photo = Buffer.alloc(0)] = await photos(1);
  const refused = await service.caption(photo);
  assert.deepEqual([refused.status, (await json(refused))['code']], [503, 'not_ready']);
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);

  await writeFile(file, whole);
  await service.metricIs('pcm_caption_workers_ready', (workers) => workers === 1);
  assert.equal((await ready()).status, 200);
  assert.equal((await service.caption(photo)).status, 200);
});

test('SIGHUP under load loses no request, and another model answers; one that does not load changes nothing', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pcm-caption-swap-'));
  t.after(() => rm(folder, { recursive: true }));
  for (const id of ['first', 'second', 'broken']) await copyBundle(join(folder, id), id);
  const model = join(folder, 'model');
  const install = async (id: string): Promise<void> => {
    await rm(model, { force: true });
    await symlink(join(folder, id), model);
  };
  await install('first');
  const service = await RunningService.start({ MODEL_PATH: model, WORKERS: 'auto', CACHE_SIZE: '0' });
  t.after(() => service.child.kill('SIGKILL'));
  const images = await photos(6);

  /** What each photo was answered: both models are the same but for their names, so it is always the same. */
  const captions = images.map(() => new Set<string | null>());

  /** Asks without a pause until a condition holds, and returns the models that answered, in the order they were asked. */
  async function askUntil(isOver: (latest: string) => boolean): Promise<string[]> {
    const models: string[] = [];
    let isDone = false;
    const client = async (): Promise<void> => {
      while (!isDone) {
        const place = models.push('none') - 1;
        const response = await service.caption(images[place % images.length] ?? Buffer.alloc(0));
        const result = await json(response);
        assert.equal(response.status, 200, JSON.stringify(result));
        assert.ok(resultCheck.Check(result));
        models[place] = result.model.id;
        captions[place % images.length]?.add(result.caption);
        assert.equal((await fetch(`${service.url}/readyz`)).status, 200);
        isDone ||= isOver(result.model.id);
      }
    };
    await Promise.all([client(), client(), client(), client()]);
    return models;
  }

  await install('second');
  service.child.kill('SIGHUP');
  const models = await askUntil((latest) => latest === 'second');
  assert.deepEqual(new Set(models), new Set(['first', 'second']));
  assert.ok(models.indexOf('second') >= models.filter((id) => id === 'first').length - 4, 'it switches once');
  assert.match(await (await fetch(`${service.url}/v1/models`)).text(), /"id":"second"/);

  await appendFile(join(folder, 'broken', 'vocabulary.txt'), 'x');
  await install('broken');
  service.child.kill('SIGHUP');
  const unchanged = await askUntil(() => service.log.includes('vocabulary.txt has'));
  assert.deepEqual(new Set(unchanged), new Set(['second']));
  assert.deepEqual(
    captions.map(({ size }) => size),
    images.map(() => 1),
  );
  const metrics = await (await fetch(`${service.url}/metrics`)).text();
  assert.match(metrics, /pcm_caption_model_reloads_total\{outcome="swapped"\} 1\n/);
  assert.match(metrics, /pcm_caption_model_reloads_total\{outcome="failed"\} 1\n/);

  service.child.kill('SIGTERM');
  assert.equal(await service.exited, 0);
});

describe('identical requests', () => {
  test('are answered from memory, and at the same time by one run of the model', async () => {
    const service = await RunningService.start({ CACHE_SIZE: '100' });
    const [photo = Buffer.alloc(0), other = Buffer.alloc(0)] = await photos(2);
    const ask = async (image: Buffer, ...options: [string, string][]) => {
      const result = await json(await service.caption(image, ...options));
      assert.ok(resultCheck.Check(result), JSON.stringify(result));
      return result;
    };
    const together = await Promise.all(Array.from({ length: 8 }, () => ask(photo)));
    assert.equal(together.filter(({ timing }) => !timing.cached).length, 1);
    const again = await ask(photo);
    assert.equal(again.timing.cached, true);
    const { timing: fresh, ...answer } = together.find(({ timing }) => !timing.cached) ?? again;
    assert.ok(fresh.encodeMs > 0);
    for (const { timing, ...result } of [...together, again]) {
      assert.deepEqual(result, answer);
      if (timing.cached) assert.equal(timing.encodeMs + timing.captionMs + timing.scoreMs, 0);
      assert.ok(timing.totalMs >= timing.decodeMs);
    }
    // A threshold is applied to an answer, not part of it.
    assert.deepEqual((await ask(photo, ['minConfidence', '1'])).caption, null);
    assert.equal((await ask(photo, ['minConfidence', '1'])).timing.cached, true);
    assert.equal((await ask(photo, ['genderNeutral', 'true'])).timing.cached, false);
    assert.equal((await ask(other)).timing.cached, false);
    // The bytes count, so that a repeat costs no decoding: a lossless copy is another image.
    assert.deepEqual([again.timing.decodeMs, fresh.decodeMs > 0], [0, true]);
    const lossless = await ask(await sharp(other).png().toBuffer());
    assert.deepEqual([lossless.timing.cached, lossless.image.format], [false, 'png']);
    const form = await json(await service.caption(other));
    const { caption, image } = await json(
      await fetch(`${service.url}/v1/captions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ image: other.toString('base64') }),
      }),
    );
    assert.deepEqual({ caption, image }, { caption: form['caption'], image: form['image'] });
    assert.equal(await service.metric('pcm_caption_cache_requests_total{result="miss"}'), 4);
    service.child.kill('SIGTERM');
    assert.equal(await service.exited, 0);
  });

  test('run the model each time with CACHE_SIZE=0', async () => {
    const service = await RunningService.start({ CACHE_SIZE: '0' });
    const [photo = Buffer.alloc(0)] = await photos(1);
    for (let time = 0; time < 2; time++) {
      const result = await json(await service.caption(photo));
      assert.ok(resultCheck.Check(result));
      assert.equal(result.timing.cached, false);
      assert.ok(result.timing.encodeMs > 0);
    }
    assert.doesNotMatch(await (await fetch(`${service.url}/metrics`)).text(), /pcm_caption_cache/);
    service.child.kill('SIGTERM');
    assert.equal(await service.exited, 0);
  });
});

/** The embedded bundle under another name. */
async function copyBundle(folder: string, id: string): Promise<void> {
  await cp(`${root}models/default`, folder, { recursive: true });
  const file = join(folder, 'bundle.json');
  const manifest = parseManifest(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...manifest, id }));
}

describe('the command line', () => {
  const run = (args: readonly string[], environment: Record<string, string> = {}) =>
    runCommand('main', args, { environment });

  test('--help lists every setting', async () => {
    const { code, stdout: output } = await run(['--help']);
    assert.equal(code, 0);
    for (const name of ['PORT', 'MODEL_PATH', 'MAX_PIXELS', 'LOG_LEVEL'])
      assert.ok(output.includes(`  ${name} `), name);
  });

  test('an invalid setting stops the start with one clear line', async () => {
    const { code, stderr: output } = await run([], { PORT: 'web' });
    assert.equal(code, 1);
    assert.equal(output, 'pcm-caption: PORT must be a whole number from 0 to 65535, not "web"\n');
  });

  test('a folder without a bundle stops the start, and says what is missing', async () => {
    const { code, stderr: output } = await run([], { MODEL_PATH: 'no/such/folder' });
    assert.equal(code, 1);
    assert.equal(
      output.slice(output.indexOf('pcm-caption: ')),
      'pcm-caption: MODEL_PATH=no/such/folder is not the folder of a model bundle: bundle.json cannot be read\n',
    );
  });

  test('a named provider that does not run stops the start, and says what it needs', async () => {
    const { code, stderr: output } = await run([], { PROVIDER: 'tensorrt' });
    assert.equal(code, 1);
    assert.match(output, /^pcm-caption: .*tensorrt does not run here.*\n$/);
    if (process.platform !== 'linux') return;
    const hasGpu = existsSync('/dev/nvidiactl');
    assert.match(
      output,
      hasGpu ? /It needs .*libonnxruntime_providers_tensorrt\.so/ : /: this machine has no NVIDIA GPU, /,
    );
  });

  test('an address that is taken stops the start before the model is loaded', async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const address = server.address();
    assert.ok(typeof address === 'object' && address !== null);
    // A model that is not there would be found later.
    const environment = { PORT: String(address.port), MODEL_PATH: 'no/such/folder' };
    const { code, stderr: output } = await run([], environment);
    assert.equal(code, 1);
    assert.match(output, new RegExp(`^pcm-caption: PORT=${address.port} is taken on 127\\.0\\.0\\.1: `));
  });

  test('an address of another machine, and a name that nobody has, stop the start', async () => {
    for (const HOST of ['192.0.2.1', 'nobody.invalid']) {
      const { code, stderr: output } = await run([], { HOST });
      assert.equal(code, 1);
      assert.match(output, new RegExp(`^pcm-caption: HOST=${HOST} is not .*\\n$`));
    }
  });

  test('an argument it does not know is an error', async () => {
    const { code, stderr: output } = await run(['serv']);
    assert.deepEqual([code, output.includes('--help')], [2, true]);
  });
});
