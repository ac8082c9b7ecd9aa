import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { SearchIndex } from '../src/library/search-index.js';
import { noise, quarters } from './images/drawn.js';
import { readDefaultManifest } from './inference/default-bundle.js';
import { runCommand, startCommand } from './run-command.js';

const folder = mkdtempSync(join(tmpdir(), 'pcm-caption-search-'));
const cli = (...args: string[]) => runCommand('cli', args, { folder });
const Hit = Type.Object({
  file: Type.String(),
  similarity: Type.Number(),
  caption: Type.Union([Type.String(), Type.Null()]),
  tags: Type.Array(Type.String()),
});
const Scores = Type.Object({
  result: Type.Object({ scores: Type.Array(Type.Object({ cosine: Type.Number() })) }),
});

before(async () => {
  mkdirSync(join(folder, 'photos/below'), { recursive: true });
  const write = (name: string, bytes: Buffer) => {
    writeFileSync(join(folder, 'photos', name), bytes);
  };
  write('quarters.jpg', await quarters(320, 200).jpeg().toBuffer());
  write('below/noise.jpg', await noise().jpeg().toBuffer());
  write('below/tall.png', await quarters(90, 200).png().toBuffer());
  write('notes.txt', Buffer.from('no photo'));
});
after(() => {
  rmSync(folder, { recursive: true });
});

describe('index and search', () => {
  test('names are below the folder however it is named, and captions may come later', async () => {
    const names = async (where: string, from: string) => {
      const { stdout } = await runCommand('cli', ['search', where, 'a flag', '--json'], {
        folder: join(folder, from),
      });
      const hits = stdout
        .trimEnd()
        .split('\n')
        .map((line) => Value.Parse(Hit, JSON.parse(line)));
      return hits.map(({ file, caption }) => [file, caption === null]).sort();
    };
    const index = (...args: string[]) =>
      runCommand('cli', ['index', ...args], { folder: join(folder, 'photos') });
    assert.equal((await index('.', '--no-captions')).code, 0);
    const found = [
      ['below/noise.jpg', true],
      ['below/tall.png', true],
      ['quarters.jpg', true],
    ];
    assert.deepEqual(await names('.', 'photos'), found);
    assert.deepEqual(await names('photos', '.'), found);
    assert.match((await index('./', '--no-captions')).stderr, /0 indexed, .* 3 unchanged/);
    assert.match((await index('.')).stderr, /3 indexed, .* 0 unchanged/);
    assert.deepEqual(
      await names('photos', '.'),
      found.map(([file]) => [file, false]),
    );
    const none = await cli('search', 'photos', 'a flag', '--tag', 'no such tag');
    assert.deepEqual(
      [none.code, none.stdout, none.stderr],
      [0, '', 'pcm-caption: no image of the index has the tag "no such tag"\n'],
    );
    rmSync(join(folder, 'photos/.pcm-caption-index.db'));
  });

  test('a folder is indexed, and searched by a text or an image', async () => {
    const { code, stderr } = await cli('index', 'photos');
    assert.equal(code, 0);
    assert.match(
      stderr,
      /^pcm-caption: 3 images in the index: 3 indexed, 0 .*, 0 unchanged, 0 gone, 0 failed$/m,
    );

    const text = 'Four colours on a flag';
    const found = await cli('search', 'photos', text, '--json');
    const hits = found.stdout
      .trimEnd()
      .split('\n')
      .map((line) => Value.Parse(Hit, JSON.parse(line)));
    assert.equal(hits.length, 3);
    for (const { file, similarity, caption } of hits) {
      const scored = await cli('score', join('photos', file), text, '--json');
      const { result } = Value.Parse(Scores, JSON.parse(scored.stdout));
      assert.ok(Math.abs((result.scores[0]?.cosine ?? 0) - similarity) < 1e-4, file);
      assert.match(caption ?? '', /^[A-Z]/);
    }
    assert.deepEqual(
      hits.map(({ similarity }) => similarity),
      hits.map(({ similarity }) => similarity).sort((a, b) => b - a),
    );

    const like = await cli('search', 'photos', '--like', 'photos/below/noise.jpg', '--limit', '1');
    assert.match(like.stdout, /^1\.000\tbelow\/noise\.jpg\t[A-Z][^\t\n]+\n$/);
  });

  test('only what has changed is read again', async () => {
    utimesSync(join(folder, 'photos/quarters.jpg'), 1, 1);
    renameSync(join(folder, 'photos/below/tall.png'), join(folder, 'photos/renamed.png'));
    writeFileSync(join(folder, 'photos/new.jpg'), await quarters(50, 50).jpeg().toBuffer());
    writeFileSync(join(folder, 'photos/broken.jpg'), 'no image');
    const { code, stderr } = await cli('index', 'photos');
    assert.equal(code, 3);
    assert.match(stderr, /^pcm-caption: photos\/broken\.jpg: unsupported_image_format/m);
    assert.match(
      stderr,
      /4 images in the index: 1 indexed, 2 under another name, 1 unchanged, 1 gone, 1 failed$/m,
    );
    rmSync(join(folder, 'photos/broken.jpg'));
    const again = await cli('index', 'photos');
    assert.match(again.stderr, /4 images in the index: 0 indexed, 0 under another name, 4 unchanged, 0 gone/);
  });

  test('killed in the middle, it goes on', async () => {
    mkdirSync(join(folder, 'many'));
    for (let index = 0; index < 30; index++) {
      writeFileSync(
        join(folder, `many/${index}.jpg`),
        await quarters(64 + index, 64)
          .jpeg()
          .toBuffer(),
      );
    }
    const child = startCommand('cli', ['index', 'many', '--no-captions'], {
      folder,
      environment: { MAX_BATCH_SIZE: '1', MAX_QUEUE_IMAGES: '1' },
    });
    const ended = once(child, 'exit');
    const { id, version, dimensions } = await readDefaultManifest();
    const size = async () => {
      const model = { id, version, dimensions: dimensions.embedding };
      const index = await SearchIndex.open(join(folder, 'many/.pcm-caption-index.db'), model);
      const { size: found } = index;
      index.close();
      return found;
    };
    while ((await size().catch(() => 0)) === 0) {
      assert.equal(child.exitCode, null);
      await setTimeout(20);
    }
    child.kill('SIGKILL');
    await ended;
    const done = await size();
    assert.ok(done < 30, 'it was killed in the middle');
    const { stderr } = await cli('index', 'many', '--no-captions');
    assert.match(stderr, new RegExp(`30 images in the index: ${30 - done} indexed, .* ${done} unchanged`));
    assert.equal(await size(), 30);
  });

  test('what is wrong is said in words', async () => {
    copyFileSync(join(folder, 'photos/notes.txt'), join(folder, 'none.db'));
    const wrong: [string[], number, RegExp][] = [
      [['search', 'photos'], 2, /takes either a text or --like/],
      [['search', 'photos', 'a dog', '--like', 'x.jpg'], 2, /takes either a text or --like/],
      [['search', 'photos', 'a dog', '--limit', '0'], 2, /--limit must be a whole number/],
      [['index', 's3://bucket/photos'], 2, /an index of S3 is a file here: name it with --index/],
      [['search', 'photos/below', 'a dog'], 1, /not_found: There is no index.*pcm-caption index/],
      [['index', 'nowhere'], 1, /not_found: There is no such file/],
    ];
    for (const [args, code, message] of wrong) {
      const result = await cli(...args);
      assert.match(result.stderr, message);
      assert.equal(result.code, code, args.join(' '));
    }
  });
});
