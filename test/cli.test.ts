import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test, type TestContext } from 'node:test';
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { CaptionResultSchema, ScoreResultSchema } from '../src/captioner/results.js';
import { json } from './http/service.js';
import { noise, quarters } from './images/drawn.js';
import { runCommand, type RunOptions, startCommand } from './run-command.js';
import { defaultBundle } from './inference/default-bundle.js';
import { RunningService } from './running-service.js';

/** An album of drawn photos: two in order, one named to be difficult, one below, and what is no photo. */
const album = mkdtempSync(join(tmpdir(), 'pcm-caption-cli-'));
const awkward = 'a "b", c.jpg';
const photo = await quarters(320, 200).jpeg().toBuffer();

before(async () => {
  mkdirSync(join(album, 'photos/below/.hidden'), { recursive: true });
  mkdirSync(join(album, 'nothing'));
  const write = (name: string, content: Buffer | string) => {
    writeFileSync(join(album, name), content);
  };
  write('photos/photo10.jpg', photo);
  write('photos/photo2.png', await quarters(90, 200).png().toBuffer());
  write(`photos/${awkward}`, await noise().jpeg().toBuffer());
  write('photos/below/deep.WEBP', await quarters(64, 64).webp().toBuffer());
  write('photos/below/.hidden/unseen.jpg', photo);
  write('photos/below/broken.jpg', photo.subarray(0, photo.length / 2));
  write('photos/notes.txt', 'no photo');
});
after(() => {
  rmSync(album, { recursive: true });
});

const cli = (args: readonly string[], options: RunOptions = {}) =>
  runCommand('cli', args, { folder: album, ...options });

const Failed = Type.Object({
  file: Type.String(),
  error: Type.Object({ code: Type.String(), title: Type.String(), detail: Type.String() }),
});
const captionLine = Compile(
  Type.Union([Type.Object({ file: Type.String(), result: CaptionResultSchema }), Failed]),
);
const scoreLine = Compile(Type.Object({ file: Type.String(), result: ScoreResultSchema }));

function captionLines(output: string) {
  assert.ok(output.endsWith('\n'));
  return output
    .trimEnd()
    .split('\n')
    .map((line) => {
      const value: unknown = JSON.parse(line);
      assert.ok(captionLine.Check(value), line);
      return value;
    });
}

describe('caption', () => {
  test('files, folders, patterns and standard input are answered in order, each on its own', async () => {
    const args = [
      'photos/photo2.png',
      'photos',
      'photos/**/*.jpg',
      'nosuch.jpg',
      'no*thing/*.gif',
      'nothing',
      '-',
    ];
    const { code, stdout, stderr } = await cli(['caption', ...args, '--json'], { stdin: photo });
    const lines = captionLines(stdout);
    assert.deepEqual(
      lines.map((line) => [
        line.file,
        'error' in line ? line.error.code : /^[A-Z]/.test(line.result.caption ?? ''),
      ]),
      [
        ['photos/photo2.png', true],
        [`photos/${awkward}`, true],
        ['photos/below/broken.jpg', 'image_unreadable'],
        ['photos/below/deep.WEBP', true],
        ['photos/photo10.jpg', true],
        ['nosuch.jpg', 'not_found'],
        ['no*thing/*.gif', 'not_found'],
        ['nothing', 'missing_image'],
        ['-', true],
      ],
    );
    const captions = lines.flatMap((line) => ('result' in line ? [line.result.caption] : []));
    assert.equal(captions.at(-1), captions.at(-2), 'the photo on standard input is photo10.jpg');
    assert.equal(code, 3);
    assert.match(stderr, /^pcm-caption: photos\/below\/broken\.jpg: image_unreadable: /m);
    assert.match(stderr, /^pcm-caption: nosuch\.jpg: not_found: /m);
    assert.match(stderr, /^pcm-caption: passed over .*: 1$/m);
    assert.match(stderr, /^pcm-caption: 4 of 9 images have no answer\n$/m);
  });

  test('CSV has a heading, quotes what needs it, and a row for what failed', async () => {
    const { code, stdout } = await cli(['caption', 'photos', '--csv']);
    const [heading, first, second, ...rest] = stdout.split('\r\n');
    assert.equal(
      heading,
      'file,caption,confidence,clipScore,logProb,meanLogProb,concepts,tags,width,height,format,model,error',
    );
    assert.match(first ?? '', /^"photos\/a ""b"", c\.jpg",[A-Z][^,]*,0\.\d+,.*,200,150,jpeg,[^,]+,$/);
    assert.equal(second, 'photos/below/broken.jpg,,,,,,,,,,,,image_unreadable');
    assert.equal(rest.length, 4, 'three more rows, and the end of the last one');
    assert.ok(!stdout.replaceAll('\r\n', '').includes('\n'));
    assert.equal(code, 3);
  });

  test('without a terminal a line is name, confidence and caption between tabs; all well is 0', async () => {
    const { code, stdout, stderr } = await cli(['caption', 'photos/photo10.jpg', 'photos/photo2.png']);
    assert.match(
      stdout,
      /^photos\/photo10\.jpg\t0\.\d{3}\t[A-Z][^\t\n]+\nphotos\/photo2\.png\t0\.\d{3}\t[A-Z][^\t\n]+\n$/,
    );
    assert.deepEqual([code, stderr], [0, '']);
  });

  test('candidates that were asked for are a line each', async () => {
    const { stdout } = await cli(['caption', 'photos/photo10.jpg', '--candidates', '2']);
    const [first = '', second = '', end] = stdout.split('\n');
    for (const line of [first, second]) assert.match(line, /^photos\/photo10\.jpg\t0\.\d{3}\t[A-Z]/);
    assert.notEqual(first, second);
    assert.equal(end, '');
  });

  test('the options of the API are flags', async () => {
    const { stdout: plain } = await cli(['caption', 'photos/photo10.jpg', '--json']);
    const [before] = captionLines(plain);
    assert.ok(before !== undefined && 'result' in before);
    const avoided = (before.result.caption ?? '')
      .toLowerCase()
      .split(' ')
      .filter((word) => word.length > 2);
    assert.ok(avoided.length > 1);
    const flags = [
      '--candidates',
      '1',
      '--beam-size=4',
      '--max-length',
      '6',
      '--explain',
      '--gender-neutral',
    ];
    const words = [
      '--concepts',
      'flag,traffic light',
      '--concepts',
      'tent',
      '--avoid-words',
      avoided.join(','),
    ];
    const { stdout } = await cli([
      'caption',
      ...flags,
      ...words,
      '--min-confidence',
      '1',
      'photos/photo10.jpg',
      '--json',
    ]);
    const [line] = captionLines(stdout);
    assert.ok(line !== undefined && 'result' in line);
    const { caption, captions, concepts, gridSize } = line.result;
    assert.equal(caption, null);
    assert.equal(captions.length, 1);
    const written = (captions[0]?.text ?? '').toLowerCase().split(' ');
    assert.ok(written.length <= 6);
    assert.deepEqual(
      written.filter((word) => avoided.includes(word)),
      [],
    );
    assert.deepEqual(concepts.map(({ word }) => word).sort(), ['flag', 'tent', 'traffic light']);
    assert.ok(gridSize !== undefined);
    assert.equal(concepts[0]?.patches?.length, gridSize.rows * gridSize.columns);
  });

  test('a reader that has had enough ends it in silence', async () => {
    const child = startCommand('cli', ['caption', 'photos', '--json'], {
      folder: album,
      environment: { MAX_BATCH_SIZE: '1', MAX_QUEUE_IMAGES: '1' },
    });
    let stderr = '';
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    const ended = once(child, 'close');
    await once(child.stdout, 'data');
    child.stdout.destroy();
    assert.deepEqual(await ended, [141, null]);
    assert.doesNotMatch(stderr, /EPIPE|Error|at .*:\d+/);
  });

  test('Ctrl-C ends it with 130 between two whole lines', async () => {
    const many = join(album, 'many');
    mkdirSync(many);
    for (let index = 0; index < 40; index++)
      copyFileSync(join(album, 'photos/photo10.jpg'), join(many, `${index}.jpg`));
    const child = startCommand('cli', ['caption', 'many', '--json'], {
      folder: album,
      environment: { MAX_BATCH_SIZE: '1' },
    });
    const ended = once(child, 'close');
    let stderr = '';
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    const lines: string[] = [];
    const reader = createInterface(child.stdout).on('line', (line) => lines.push(line));
    await once(reader, 'line');
    child.kill('SIGINT');
    assert.deepEqual(await ended, [130, null]);
    assert.ok(lines.length < 40);
    for (const line of lines) assert.ok(captionLine.Check(JSON.parse(line)));
    assert.match(stderr, /^pcm-caption: stopped after \d+ of 40 images$/m);
  });
});

test('caption and score answer as the service does', async (t) => {
  const service = await RunningService.start();
  t.after(() => service.child.kill('SIGTERM'));
  const texts = ['Four colours', 'A dog runs'];
  const [caption, scores] = await Promise.all([
    service.caption(photo).then(json),
    fetch(`${service.url}/v1/scores?texts=${texts.map(encodeURIComponent).join('&texts=')}`, {
      method: 'POST',
      headers: { 'content-type': 'image/jpeg' },
      body: photo,
    }).then(json),
  ]);
  const { stdout } = await cli(['caption', 'photos/photo10.jpg', '--json']);
  const [line] = captionLines(stdout);
  assert.ok(line !== undefined && 'result' in line);
  assert.deepEqual({ ...line.result, timing: null }, { ...caption, timing: null });
  const scored = await cli(['score', 'photos/photo10.jpg', ...texts, '--json']);
  const value: unknown = JSON.parse(scored.stdout);
  assert.ok(scoreLine.Check(value), scored.stdout);
  assert.deepEqual(value.result.scores, scores['scores']);
  assert.equal(scored.code, 0);
});

describe('score', () => {
  test('each text is a line below a heading: probability, CLIPScore, cosine, text', async () => {
    const { code, stdout } = await cli(['score', '-', 'Four colours', 'A dog\truns'], { stdin: photo });
    assert.match(
      stdout,
      /^image\tmatch\tCLIPScore\tcosine\ttext\n-\t[01]\.\d{3}\t\d\.\d{3}\t-?0\.\d{3}\tFour colours\n-\t[01]\.\d{3}\t\d\.\d{3}\t-?0\.\d{3}\tA dog\?runs\n$/,
    );
    assert.equal(code, 0);
  });

  test('an image that cannot be read is 3', async () => {
    const { code, stdout, stderr } = await cli(['score', 'photos/notes.txt', 'Text', '--csv']);
    assert.equal(stdout.split('\r\n')[1], 'photos/notes.txt,,,,,,unsupported_image_format');
    assert.match(stderr, /^pcm-caption: photos\/notes\.txt: unsupported_image_format: /);
    assert.equal(code, 3);
  });
});

describe('models', () => {
  /** The embedded bundle by links, but for one file that is a copy. */
  function bundleWithCopyOf(t: TestContext, copied: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'pcm-caption-bundle-'));
    t.after(() => {
      rmSync(folder, { recursive: true });
    });
    for (const name of readdirSync(defaultBundle)) {
      if (name === copied) copyFileSync(join(defaultBundle, name), join(folder, name));
      else symlinkSync(join(defaultBundle, name), join(folder, name));
    }
    return folder;
  }

  test('show tells what the bundle says of itself', async () => {
    const { code, stdout } = await cli(['models']);
    assert.match(stdout, /^model +pcm-net-\S+ \d+\.\d+\.\d+$/m);
    assert.match(stdout, /^licence +\S/m);
    assert.match(stdout, /^precision w8 +\d+\.\d+ MB, .*CIDEr 0\.\d{3}$/m);
    assert.equal(code, 0);
    const { stdout: line } = await cli(['models', 'show', defaultBundle, '--json']);
    const facts: unknown = JSON.parse(line);
    assert.ok(typeof facts === 'object' && facts !== null && 'files' in facts);
  });

  test('verify passes the embedded bundle, file by file', async () => {
    const { code, stdout } = await cli(['models', 'verify']);
    assert.match(stdout, /^ok .*MB {2}decoder\.w8\.onnx$/m);
    assert.match(stdout, /\n\d+ files are what bundle\.json says\n$/);
    assert.equal(code, 0);
  });

  test('verify names a file with a changed byte', async (t) => {
    const folder = bundleWithCopyOf(t, 'concepts.f32');
    const content = readFileSync(join(folder, 'concepts.f32'));
    content[1000] = (content[1000] ?? 0) ^ 1;
    writeFileSync(join(folder, 'concepts.f32'), content);
    const { code, stdout } = await cli(['models', 'verify', folder]);
    assert.match(stdout, /^CHANGED .* concepts\.f32$/m);
    assert.match(stdout, /\n1 of \d+ files are not what bundle\.json says: concepts\.f32\n$/);
    assert.equal(code, 1);
    const byEnvironment = await cli(['models', 'verify', '--json'], { environment: { MODEL_PATH: folder } });
    assert.match(byEnvironment.stdout, /"ok":false.*\{"name":"concepts\.f32","bytes":\d+,"state":"hash"\}/);
    assert.equal(byEnvironment.code, 1);
  });

  test('verify names files that are missing or cut short, and goes on', async (t) => {
    const folder = bundleWithCopyOf(t, 'vocabulary.txt');
    truncateSync(join(folder, 'vocabulary.txt'), 100);
    rmSync(join(folder, 'tokenizer.json'));
    const { code, stdout } = await cli(['models', 'verify', folder]);
    assert.match(stdout, /^OTHER SIZE .* vocabulary\.txt$/m);
    assert.match(stdout, /^MISSING .* tokenizer\.json$/m);
    assert.match(stdout, /\n2 of \d+ files are not what bundle\.json says: .*\n$/);
    assert.equal(code, 1);
  });
});

describe('doctor', () => {
  test('says that the service would start, with the providers that run and those that do not', async () => {
    const { code, stdout } = await cli(['doctor'], {
      environment: { PORT: '0', URL_IMAGE_HOSTS: 'a.example' },
    });
    for (const line of [
      /^ok +Node\.js +\d+\.\d+\.\d+$/m,
      /^ok +CPU +.*\d cores may be used/m,
      /^note +settings +URL_IMAGE_HOSTS=a\.example has no effect/m,
      /^ok +bundle +pcm-net-\S+ \d+\.\d+\.\d+ in /m,
      /^(ok|note) +memory +\d+\.\d GiB/m,
      /^ok +cpu +runs \S+ in \d+ process\(es\), about \d+ images\/s/m,
      /^(ok|-) +cuda +\S/m,
      process.platform === 'darwin'
        ? /^(ok|-) +coreml/m
        : /^- +coreml +ONNX Runtime for \S+ does not have it$/m,
      /^ok +address +HOST=127\.0\.0\.1 and PORT=0/m,
      /\nThe service would start here\.\n$/,
    ]) {
      assert.match(stdout, line);
    }
    assert.equal(code, 0);
  });

  test('names each problem, and the exit code is 1', async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const address = server.address();
    assert.ok(typeof address === 'object' && address !== null);
    const environment = { PORT: String(address.port), MODEL_PATH: 'photos', PROVIDER: 'dml' };
    const { code, stdout } = await cli(['doctor'], { environment });
    assert.match(stdout, /^PROBLEM +bundle +MODEL_PATH=photos: bundle\.json cannot be read$/m);
    assert.match(
      stdout,
      new RegExp(`^PROBLEM +address +PORT=${address.port} is taken on 127\\.0\\.0\\.1: `, 'm'),
    );
    assert.match(stdout, /\nThe service would not start here: problems: [1-9]\.\n$/);
    assert.equal(code, 1);
    const settings = await cli(['doctor', '--json'], { environment: { PORT: 'web', PROTOCOLS: 'all' } });
    assert.match(
      settings.stdout,
      /^\{"ok":false,.*\{"name":"settings","state":"problem","detail":"PORT must be/,
    );
    assert.equal(settings.code, 1);
  });
});

describe('wrong usage is 2, before any model is loaded', () => {
  const wrong: [readonly string[], RegExp][] = [
    [['caption'], /missing required argument 'files'/],
    [['caption', 'x.jpg', '--colour'], /unknown option '--colour'/],
    [['caption', 'x.jpg', '--json', '--csv'], /--csv.*cannot be used with.*--json/],
    [['caption', 'x.jpg', '--candidates', '11'], /--candidates must be a whole number from 1 to 10/],
    [['caption', 'x.jpg', '--beam-size', '2'], /--beam-size must be at least candidates, which is 3/],
    [['caption', 'x.jpg', '--max-length', '99'], /--max-length must be a whole number from 4 to \d+/],
    [['caption', 'x.jpg', '--concepts', 'dog,,cat'], /--concepts must be a list of at most 100/],
    [['caption', 'x.jpg', '--explain'], /--explain needs --json/],
    [['score', 'x.jpg'], /missing required argument 'texts'/],
    [['score', 'x.jpg', ' '], /texts must be a list of 1 to 64/],
    [['serve', 'now'], /too many arguments/],
    [['captoin', 'x.jpg'], /unknown command 'captoin'/],
    [[], /Usage: pcm-caption/],
  ];
  for (const [args, message] of wrong) {
    test(args.join(' ') || 'nothing', async () => {
      const { code, stdout, stderr } = await cli(args);
      assert.match(stderr, message);
      assert.match(stderr, /--help/);
      assert.deepEqual([code, stdout], [2, '']);
    });
  }
});

test('a setting or a model that is not right is 1, with one clear line', async () => {
  const setting = await cli(['caption', 'photos'], { environment: { MAX_PIXELS: 'many' } });
  assert.deepEqual(
    [setting.code, setting.stderr],
    [1, 'pcm-caption: MAX_PIXELS must be a whole number from 1 to 1000000000, not "many"\n'],
  );
  const model = await cli(['caption', 'photos'], { environment: { MODEL_PATH: 'photos' } });
  assert.deepEqual(
    [model.code, model.stderr],
    [1, 'pcm-caption: MODEL_PATH=photos is not the folder of a model bundle: bundle.json cannot be read\n'],
  );
});

test('--help of every command and --version answer', async () => {
  for (const args of [[], ['serve'], ['caption'], ['doctor'], ['score'], ['models'], ['models', 'verify']]) {
    const { code, stdout } = await cli([...args, '--help']);
    assert.ok(stdout.startsWith(['Usage: pcm-caption', ...args].join(' ')), stdout);
    assert.equal(code, 0);
    if (args.length < 2) assert.deepEqual(await cli(['help', ...args]), { code, stdout, stderr: '' });
  }
  const { stdout: help } = await cli(['caption', '--help']);
  assert.match(help, /--candidates <number> .*\(default: 3\)/);
  assert.match(help, /--concepts-mode <replace\|extend> [^-]*\(default: replace\)/);
  for (const flag of ['--version', '-V']) {
    const { stdout } = await cli([flag]);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  }
});
