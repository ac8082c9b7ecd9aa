import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { Value } from 'typebox/value';
import { CaptionResultSchema } from '../src/captioner/results.js';
import { ResultFile } from '../src/cli/result-file.js';
import { ServiceError } from '../src/errors.js';
import { quarters } from './images/drawn.js';
import { killAtExit, runCommand, startCommand } from './run-command.js';

const captionLine = Compile(
  Type.Object({
    file: Type.String(),
    sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    result: CaptionResultSchema,
    written: Type.Optional(Type.String()),
  }),
);

/** A folder with photos of different contents: photos/0.jpg and so on. */
async function archive(t: TestContext, count: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'pcm-caption-archive-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  mkdirSync(join(folder, 'photos'));
  for (let index = 0; index < count; index++) {
    const photo = await quarters(64 + index, 64)
      .jpeg()
      .toBuffer();
    writeFileSync(join(folder, `photos/${index}.jpg`), photo);
  }
  return folder;
}

function linesOf(folder: string, name = 'out.jsonl') {
  const text = readFileSync(join(folder, name), 'utf8');
  assert.ok(text.endsWith('\n'));
  return text
    .trimEnd()
    .split('\n')
    .map((line) => Value.Parse(Type.Record(Type.String(), Type.Unknown()), JSON.parse(line)));
}

function filesOf(folder: string): unknown[] {
  return linesOf(folder).map((line) => line['file']);
}

const resumed = ['caption', 'photos', '--out', 'out.jsonl', '--resume'];

describe('--out', () => {
  test('each image is a line with its content; a file that exists is neither changed nor lost', async (t) => {
    const folder = await archive(t, 3);
    writeFileSync(join(folder, 'photos/broken.jpg'), 'no image');
    const first = await runCommand('cli', ['caption', 'photos', '--out', 'out.jsonl'], { folder });
    assert.equal(first.code, 3);
    assert.equal(first.stdout, '');
    assert.match(first.stderr, /^pcm-caption: photos\/broken\.jpg: unsupported_image_format: /m);
    assert.match(first.stderr, /^pcm-caption: 3 captioned, 0 done before, 1 failed, in \d+ s /m);
    const lines = linesOf(folder);
    assert.deepEqual(
      filesOf(folder),
      ['0', '1', '2', 'broken'].map((name) => `photos/${name}.jpg`),
    );
    for (const line of lines.slice(0, 3)) assert.ok(captionLine.Check(line), JSON.stringify(line));
    assert.equal(new Set(lines.map((line) => line['sha256'])).size, 4);

    const before = readFileSync(join(folder, 'out.jsonl'));
    const second = await runCommand('cli', ['caption', 'photos', '--out', 'out.jsonl'], { folder });
    assert.equal(second.code, 2);
    assert.match(second.stderr, /out\.jsonl exists: go on with it by --resume/);
    assert.deepEqual(readFileSync(join(folder, 'out.jsonl')), before);

    const third = await runCommand('cli', resumed, { folder });
    assert.match(third.stderr, /^pcm-caption: 0 captioned, 3 done before, 1 failed/m);
    assert.deepEqual(readFileSync(join(folder, 'out.jsonl')), before, 'the failure is in the file once');
  });

  test('killed in the middle, it goes on; the line that was cut off is written again', async (t) => {
    const folder = await archive(t, 24);
    const child = startCommand('cli', ['caption', 'photos', '--out', 'out.jsonl'], {
      folder,
      environment: { MAX_BATCH_SIZE: '1', MAX_QUEUE_IMAGES: '1' },
    });
    killAtExit(child);
    const path = join(folder, 'out.jsonl');
    const ended = once(child, 'exit');
    while (!existsSync(path) || readFileSync(path).length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(child.exitCode, null);
    }
    child.kill('SIGKILL');
    await ended;
    const done = readFileSync(path, 'utf8').split('\n').length - 1;
    assert.ok(done > 0 && done < 24);
    appendFileSync(path, '{"file":"photos/half');
    const { code, stderr } = await runCommand('cli', resumed, { folder });
    assert.equal(code, 0);
    assert.match(
      stderr,
      new RegExp(`^pcm-caption: ${24 - done} captioned, ${done} done before, 0 failed`, 'm'),
    );
    const names = Array.from({ length: 24 }, (_, index) => `photos/${index}.jpg`);
    assert.deepEqual(filesOf(folder).sort(), names.sort(), 'each has exactly one line');
  });

  test('Ctrl-C says how far it came and how to go on', async (t) => {
    const folder = await archive(t, 24);
    const child = startCommand('cli', ['caption', 'photos', '--out', 'out.jsonl'], {
      folder,
      environment: { MAX_BATCH_SIZE: '1', MAX_QUEUE_IMAGES: '1' },
    });
    let stderr = '';
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    const ended = once(child, 'close');
    const path = join(folder, 'out.jsonl');
    while (!existsSync(path) || readFileSync(path).length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(child.exitCode, null);
    }
    child.kill('SIGINT');
    assert.deepEqual(await ended, [130, null]);
    assert.match(stderr, /stopped after \d+ of 24 images; --resume goes on from there\n$/);
    for (const line of linesOf(folder)) assert.ok(captionLine.Check(line));
  });

  test('a photo under another name has its line without the model; a changed one is captioned', async (t) => {
    const folder = await archive(t, 3);
    await runCommand('cli', resumed, { folder });
    renameSync(join(folder, 'photos/0.jpg'), join(folder, 'photos/renamed.jpg'));
    writeFileSync(join(folder, 'photos/1.jpg'), await quarters(200, 90).jpeg().toBuffer());
    const { stderr } = await runCommand('cli', resumed, { folder });
    assert.match(stderr, /^pcm-caption: 2 captioned, 1 done before/m);
    const [zero, , , one, renamed] = linesOf(folder);
    assert.deepEqual(
      [one, renamed].map((line) => line?.['file']),
      ['photos/1.jpg', 'photos/renamed.jpg'],
    );
    assert.deepEqual(renamed?.['result'], zero?.['result'], 'timing and all');
  });

  test('the last line of a photo holds, whatever became of it in between', async (t) => {
    const folder = await archive(t, 1);
    await runCommand('cli', resumed, { folder });
    const [first] = linesOf(folder);
    assert.ok(captionLine.Check(first));
    const other = { ...first, sha256: '0'.repeat(64) };
    const error = new ServiceError('not_found', 'There is no such file.');
    const states = [error, first, error, error, first, other, first, first];
    for (const state of states) {
      const wanted = { model: first.result.model, written: undefined };
      const results = await ResultFile.open(join(folder, 'out.jsonl'), wanted);
      if (state instanceof ServiceError) await results.addFailure(first.file, state);
      else if (!results.isDone(state.file, state.sha256)) await results.addCaption(state);
      await results.close();
    }
    const lines = linesOf(folder);
    const said = lines.map((line) => ('error' in line ? 'error' : line['sha256']));
    const { sha256 } = first;
    assert.deepEqual(said, [sha256, 'error', sha256, 'error', sha256, other.sha256, sha256]);
  });

  test('a file that is no file of lines is not taken', async (t) => {
    const folder = await archive(t, 1);
    const { code, stderr } = await runCommand(
      'cli',
      ['caption', 'photos', '--out', '/dev/full', '--resume'],
      {
        folder,
      },
    );
    assert.equal(code, 2);
    assert.match(stderr, /^pcm-caption: \/dev\/full is not a file$/m);
  });
});

describe('--write', () => {
  test('xmp: a sidecar beside each photo; who runs it again has nothing to do', async (t) => {
    const folder = await archive(t, 2);
    const photo = readFileSync(join(folder, 'photos/0.jpg'));
    const args = ['caption', 'photos', '--write', 'xmp', '--min-tag-probability', '0'];
    const { code, stdout } = await runCommand('cli', args, { folder });
    assert.deepEqual([code, stdout], [0, '']);
    assert.deepEqual(readdirSync(join(folder, 'photos')), ['0.jpg', '0.jpg.xmp', '1.jpg', '1.jpg.xmp']);
    const sidecar = readFileSync(join(folder, 'photos/0.jpg.xmp'), 'utf8');
    assert.match(sidecar, /<dc:description .*<rdf:li xml:lang="x-default">[A-Z]/);
    assert.match(sidecar, /<Iptc4xmpCore:AltTextAccessibility .*<rdf:li xml:lang="x-default">[A-Z]/);
    assert.match(sidecar, /<dc:subject .*<rdf:Bag><rdf:li>/);
    assert.deepEqual(readFileSync(join(folder, 'photos/0.jpg')), photo);
    const again = await runCommand('cli', args, { folder });
    assert.match(again.stderr, /^pcm-caption: 0 captioned, 2 done before, 0 failed/m);
    assert.equal(readFileSync(join(folder, 'photos/0.jpg.xmp'), 'utf8'), sidecar);
  });

  test('a sidecar that is no XMP fails alone, and stays', async (t) => {
    const folder = await archive(t, 2);
    writeFileSync(join(folder, 'photos/0.xmp'), 'mine');
    const { code, stderr } = await runCommand('cli', ['caption', 'photos', '--write', 'xmp'], { folder });
    assert.equal(code, 3);
    assert.match(stderr, /^pcm-caption: photos\/0\.jpg: metadata_unreadable: The sidecar is not taken: /m);
    assert.equal(readFileSync(join(folder, 'photos/0.xmp'), 'utf8'), 'mine');
    assert.ok(existsSync(join(folder, 'photos/1.jpg.xmp')));
  });

  test('files beside photos that are not UTF-8 stay', async (t) => {
    const folder = await archive(t, 1);
    const sidecar =
      '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><!-- Köln --></rdf:RDF></x:xmpmeta>';
    for (const [target, text] of [
      ['xmp', sidecar],
      ['txt', 'Köln'],
    ] as const) {
      const file = join(folder, `photos/0.${target}`);
      writeFileSync(file, text, 'latin1');
      const args = ['caption', 'photos', '--write', target, '--existing', 'append'];
      const { code, stderr } = await runCommand('cli', args, { folder });
      assert.equal(code, 3);
      assert.match(stderr, /^pcm-caption: photos\/0\.jpg: metadata_unreadable: .* is not UTF-8\.$/m);
      assert.equal(readFileSync(file, 'latin1'), text);
    }
  });

  test('a place that cannot be written fails alone, and the others go on', async (t) => {
    const folder = await archive(t, 2);
    writeFileSync(join(folder, 'photos', `${'x'.repeat(248)}.jpg`), await quarters(90, 64).jpeg().toBuffer());
    // A socket is there, and cannot be read.
    const server = createServer().listen(join(folder, 'photos/0.jpg.xmp'));
    t.after(() => server.close());
    await once(server, 'listening');
    const args = ['caption', 'photos', '--write', 'xmp', '--existing', 'append'];
    const { code, stderr } = await runCommand('cli', args, { folder });
    assert.match(stderr, /^pcm-caption: photos\/0\.jpg: storage_unavailable: .*ENXIO\.$/m);
    assert.match(stderr, /^pcm-caption: photos\/x+\.jpg: not_found: .*ENAMETOOLONG\.$/m);
    assert.match(stderr, /^pcm-caption: 1 captioned, 0 done before, 2 failed/m);
    assert.equal(code, 3);
    assert.ok(existsSync(join(folder, 'photos/1.jpg.xmp')));
  });

  test('txt: skip, overwrite and append; with --resume the lines are written beside without the model', async (t) => {
    const folder = await archive(t, 1);
    await runCommand('cli', resumed, { folder });
    const [line] = linesOf(folder);
    assert.ok(captionLine.Check(line));
    const caption = line.result.caption ?? '';
    const text = join(folder, 'photos/0.txt');
    writeFileSync(text, 'mine\n');
    const expected: [string, string][] = [
      ['skip', 'mine\n'],
      ['append', `mine\n${caption}\n`],
      ['overwrite', `${caption}\n`],
    ];
    for (const [existing, content] of expected) {
      const args = ['caption', 'photos', '--write', 'txt', '--existing', existing];
      const { code, stderr } = await runCommand('cli', args, { folder });
      assert.equal(code, 0);
      assert.doesNotMatch(stderr, /passed over/);
      assert.equal(readFileSync(text, 'utf8'), content, existing);
    }
    rmSync(text);
    await runCommand('cli', [...resumed, '--write', 'txt'], { folder });
    assert.equal(readFileSync(text, 'utf8'), `${caption}\n`);
    const [, written] = linesOf(folder);
    assert.deepEqual(written, { ...line, written: 'txt' }, 'the same result, timing and all');
  });

  test('below the minimum of confidence nothing is written', async (t) => {
    const folder = await archive(t, 1);
    const limits = ['--min-confidence', '1', '--min-tag-probability', '1'];
    const { code } = await runCommand('cli', ['caption', 'photos', '--write', 'xmp', ...limits], { folder });
    assert.equal(code, 0);
    assert.deepEqual(readdirSync(join(folder, 'photos')), ['0.jpg']);
  });
});

test('--files-from takes a list of names, by lines or zero bytes', async (t) => {
  const folder = await archive(t, 3);
  writeFileSync(join(folder, 'lines.txt'), 'photos/2.jpg\r\nphotos/0.jpg\n');
  const names = async (args: string[], stdin?: Buffer) => {
    const { stdout } = await runCommand('cli', ['caption', ...args], {
      folder,
      ...(stdin !== undefined && { stdin }),
    });
    return stdout.split('\n').map((line) => line.split('\t')[0]);
  };
  assert.deepEqual(await names(['--files-from', 'lines.txt']), ['photos/2.jpg', 'photos/0.jpg', '']);
  assert.deepEqual(await names(['--files-from', '-'], Buffer.from('photos/1.jpg\0')), ['photos/1.jpg', '']);
});

describe('wrong usage is 2, before any model is loaded', () => {
  const wrong: [readonly string[], RegExp][] = [
    [['--resume'], /--resume needs --out/],
    [['--existing', 'skip'], /--existing needs --write/],
    [['--write', 'exif'], /argument 'exif' is invalid\. Allowed choices are xmp, embed, txt/],
    [['--out', 'x', '--csv'], /cannot be used with/],
    [['--files-from', 'no-such-list'], /--files-from no-such-list: There is no such file/],
  ];
  for (const [flags, message] of wrong) {
    test(flags.join(' '), async () => {
      const { code, stderr } = await runCommand('cli', ['caption', 'x.jpg', ...flags]);
      assert.match(stderr, message);
      assert.equal(code, 2);
    });
  }
});
