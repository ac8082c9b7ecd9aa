import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Compile } from 'typebox/compile';
import { CaptionResultSchema } from '../src/http/schemas/caption-result.js';
import { parseManifest } from '../src/runtime/bundle-manifest.js';
import {
  assertCaptioned,
  assertRefused,
  badInputEnvironment,
  badInputs,
  onePixel,
} from './http/bad-inputs.js';
import { formOf, json } from './http/service.js';
import { quarters } from './images/drawn.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const photoFolder = `${root}../shared/data/images/`;
const resultCheck = Compile(CaptionResultSchema);

/** The service as users start it: its own process, the embedded bundle, a free port. */
class RunningService {
  readonly exited: Promise<number | null>;
  #log = '';

  private constructor(
    readonly child: ChildProcess,
    readonly url: string,
  ) {
    this.exited = new Promise((resolve) => child.once('exit', resolve));
  }

  static async start(environment: Record<string, string> = {}): Promise<RunningService> {
    const child = spawn(process.execPath, ['--enable-source-maps', 'dist/src/main.js'], {
      cwd: root,
      env: { ...process.env, PORT: '0', ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout });
    let log = '';
    const url = await new Promise<string>((resolve, reject) => {
      lines.on('line', (line) => {
        log += `${line}\n`;
        const listening = /Server listening at (http:[^"]+)/.exec(line)?.[1];
        if (listening !== undefined) resolve(listening);
      });
      child.once('exit', (code) => {
        reject(new Error(`the service ended with ${String(code)} before it listened:\n${log}`));
      });
    });
    const service = new RunningService(child, url);
    lines.on('line', (line) => (service.#log += `${line}\n`));
    return service;
  }

  get log(): string {
    return this.#log;
  }

  caption(image: Buffer, ...options: [string, string][]): Promise<Response> {
    return fetch(`${this.url}/v1/captions`, { method: 'POST', body: formOf(...options, ['image', image]) });
  }
}

/** Real photos where they lie beside the repository, as they must in CI; drawn ones elsewhere. */
async function photos(count: number): Promise<Buffer[]> {
  if (process.env['CI'] === 'true' || existsSync(photoFolder)) {
    const names = readdirSync(photoFolder).sort().slice(0, count);
    assert.equal(names.length, count);
    return names.map((name) => readFileSync(photoFolder + name));
  }
  const sizes = Array.from({ length: count }, (_, index) => 100 + 10 * index);
  return Promise.all(sizes.map((size) => quarters(size, 200).jpeg().toBuffer()));
}

describe('the service with the embedded bundle', () => {
  let service: RunningService;

  before(async () => {
    service = await RunningService.start(badInputEnvironment);
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
  });
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

describe('the command line', () => {
  const run = async (args: string[], environment: Record<string, string> = {}) => {
    const child = spawn(process.execPath, ['dist/src/main.js', ...args], {
      cwd: root,
      env: { ...process.env, ...environment },
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += String(chunk)));
    child.stderr.on('data', (chunk) => (output += String(chunk)));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { code, output };
  };

  test('--help lists every setting', async () => {
    const { code, output } = await run(['--help']);
    assert.equal(code, 0);
    for (const name of ['PORT', 'MODEL_PATH', 'MAX_PIXELS', 'LOG_LEVEL'])
      assert.ok(output.includes(`  ${name} `), name);
  });

  test('an invalid setting stops the start with one clear line', async () => {
    const { code, output } = await run([], { PORT: 'web' });
    assert.equal(code, 1);
    assert.equal(output, 'pcm-caption: PORT must be a whole number from 0 to 65535\n');
  });

  test('a folder without a bundle stops the start, and says what is missing', async () => {
    const { code, output } = await run([], { MODEL_PATH: 'no/such/folder' });
    assert.equal(code, 1);
    assert.match(output, /^pcm-caption: bundle\.json .*\n$/);
  });

  test('an argument it does not know is an error', async () => {
    const { code, output } = await run(['serv']);
    assert.deepEqual([code, output.includes('--help')], [2, true]);
  });
});
