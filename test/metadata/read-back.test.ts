import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import sharp from 'sharp';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { createMetadataWriter } from '../../src/library/metadata-writer.js';
import type { ExistingMode, PhotoMetadata, WriteTarget } from '../../src/library/photo-metadata.js';
import { quarters } from '../images/drawn.js';
import { runCommand } from '../run-command.js';

// `.ci/metadata` installs ExifTool and exiv2: two programs that were written apart from each other and from this one.

const words: PhotoMetadata = {
  description: 'A dog & a "cat" <run> on a beach, über',
  subjects: ['dog', 'beach', 'traffic light'],
  altText: 'A dog and a cat run',
};

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pcm-caption-metadata-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  return folder;
}

async function add(target: WriteTarget, mode: ExistingMode, photo: string, added = words): Promise<boolean> {
  const writer = await createMetadataWriter(target, mode);
  try {
    return await writer.add(photo, readFileSync(photo), added);
  } finally {
    await writer.close();
  }
}

/** All tags that ExifTool finds, by group and name, but those of the file system. */
function exifTool(file: string): Map<string, unknown> {
  const args = ['-json', '-G1', '-a', '-u', '-x', 'System:all', '-x', 'ExifTool:all', file];
  const output: unknown = JSON.parse(execFileSync('exiftool', args, { encoding: 'utf8' }));
  const [tags = {}] = Value.Parse(Type.Array(Type.Record(Type.String(), Type.Unknown())), output);
  const found = new Map(Object.entries(tags));
  found.delete('SourceFile');
  return found;
}

/** The words as exiv2 finds them. */
function exiv2(file: string): PhotoMetadata {
  const values = (key: string): string[] => {
    const output = execFileSync('exiv2', ['-q', '-K', key, '-Pv', file], { encoding: 'utf8' });
    return output.split('\n').filter((line) => line !== '');
  };
  const text = (key: string) =>
    values(key)
      .join('\n')
      .replace(/^lang="x-default" /, '');
  return {
    description: text('Xmp.dc.description'),
    subjects: values('Xmp.dc.subject').flatMap((line) => line.split(', ')),
    altText: text('Xmp.iptc.AltTextAccessibility'),
  };
}

const ours = ['XMP-dc:Description', 'XMP-dc:Subject', 'XMP-iptcCore:AltTextAccessibility'];

function wordsOf(tags: ReadonlyMap<string, unknown>): PhotoMetadata {
  const [description, subjects, altText] = ours.map((name) => tags.get(name));
  return {
    description: String(description),
    subjects: Array.isArray(subjects) ? subjects.map(String) : [String(subjects)],
    altText: String(altText),
  };
}

function othersOf(tags: ReadonlyMap<string, unknown>): [string, unknown][] {
  return [...tags]
    .filter(([name]) => !ours.includes(name) && name !== 'XMP-x:XMPToolkit')
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** A photo with the metadata of a camera and of people. */
async function photoIn(folder: string, format: 'jpeg' | 'png' | 'webp' | 'tiff'): Promise<string> {
  const name = join(folder, `photo.${format}`);
  await quarters(320, 200).withMetadata({ icc: 'p3' }).toFormat(format).toFile(name);
  const tags = [
    '-EXIF:Artist=Someone',
    '-EXIF:DateTimeOriginal=2024:05:06 07:08:09',
    '-GPSLatitude=47.5',
    '-GPSLatitudeRef=N',
    '-XMP-xmp:Rating=4',
    '-XMP-dc:Title=The title',
    '-XMP-lr:HierarchicalSubject=Places|Beach',
    ...(format === 'jpeg'
      ? ['-IPTC:Keywords=mine', '-Comment=a comment', '-ThumbnailImage<='.concat(name)]
      : []),
  ];
  execFileSync('exiftool', ['-q', '-overwrite_original', ...tags, name]);
  return name;
}

/** Segments of a JPEG file before its pixels, and the rest. */
function segmentsOf(bytes: Buffer): Buffer[] {
  const segments: Buffer[] = [];
  let start = 2;
  while (bytes[start + 1] !== 0xda) {
    const end = start + 2 + bytes.readUInt16BE(start + 2);
    segments.push(bytes.subarray(start, end));
    start = end;
  }
  return [...segments, bytes.subarray(start)];
}

describe('a sidecar', () => {
  test('is read by ExifTool and exiv2', async (t) => {
    const photo = await photoIn(folderOf(t), 'jpeg');
    assert.equal(await add('xmp', 'skip', photo), true);
    assert.deepEqual(wordsOf(exifTool(`${photo}.xmp`)), words);
    assert.deepEqual(exiv2(`${photo}.xmp`), words);
  });

  test('of another program keeps every other property', async (t) => {
    const photo = await photoIn(folderOf(t), 'jpeg');
    const sidecar = `${photo}.xmp`;
    execFileSync('exiftool', [
      '-q',
      '-tagsfromfile',
      photo,
      '-all:all',
      '-XMP-dc:Description=Mine',
      '-XMP-dc:Description-de=Meines',
      '-XMP-crs:Exposure2012=0.35',
      '-XMP-xmpMM:HistoryAction=saved',
      sidecar,
    ]);
    chmodSync(sidecar, 0o640);
    const before = exifTool(sidecar);
    assert.ok(before.size > 10);
    await add('xmp', 'append', photo);
    const after = exifTool(sidecar);
    assert.deepEqual(othersOf(after), othersOf(before));
    assert.equal(after.get('XMP-dc:Description-de'), 'Meines');
    assert.deepEqual(wordsOf(after), { ...words, description: `Mine\n${words.description}` });
    assert.equal(statSync(sidecar).mode & 0o777, 0o640);
  });

  test('repeats the words of the photo, which it would hide', async (t) => {
    const photo = await photoIn(folderOf(t), 'jpeg');
    execFileSync('exiftool', ['-q', '-overwrite_original', '-XMP-dc:Description=Mine', photo]);
    await add('xmp', 'skip', photo);
    assert.deepEqual(exiv2(`${photo}.xmp`), { ...words, description: 'Mine' });
  });
});

describe('words in the photo itself', () => {
  test('a person’s own in IPTC or EXIF count, and are repeated where readers look first', async (t) => {
    const folder = folderOf(t);
    const photo = await photoIn(folder, 'jpeg');
    const own = ['-IPTC:Caption-Abstract=Oma 1974', '-IPTC:Keywords=Oma', '-EXIF:XPKeywords=Sommer;Oma'];
    execFileSync('exiftool', ['-q', '-overwrite_original', ...own, photo]);
    await add('embed', 'skip', photo);
    assert.deepEqual(wordsOf(exifTool(photo)), {
      description: 'Oma 1974',
      subjects: ['Oma', 'Sommer'],
      altText: words.altText,
    });
  });

  test('texts in other languages stay, and keywords that look like numbers', async (t) => {
    const photo = await photoIn(folderOf(t), 'png');
    const own = [
      '-XMP-dc:Description=Mine',
      '-XMP-dc:Description-de=Meines',
      ...['2.50', '1e5', 'True'].map((word) => `-XMP-dc:Subject=${word}`),
      '-XMP-iptcCore:AltTextAccessibility-de=Auf Deutsch',
    ];
    execFileSync('exiftool', ['-q', '-overwrite_original', ...own, photo]);
    const before = exifTool(photo);
    await add('embed', 'skip', photo);
    const after = exifTool(photo);
    assert.deepEqual(othersOf(after), othersOf(before));
    assert.equal(after.get('XMP-dc:Description-de'), 'Meines');
    const subjects = ['2.50', '1e5', 'True'];
    const description = 'Mine, lang="de" Meines';
    const altText = `${words.altText}, lang="de" Auf Deutsch`;
    assert.deepEqual(exiv2(photo), { description, subjects, altText });
    await add('embed', 'append', photo);
    assert.deepEqual(exiv2(photo).subjects, [...subjects, ...words.subjects]);
    assert.equal(exifTool(photo).get('XMP-dc:Description-de'), 'Meines');
  });

  for (const format of ['jpeg', 'png', 'webp', 'tiff'] as const) {
    test(`${format}: both programs read them, and all other metadata and pixels are as they were`, async (t) => {
      const folder = folderOf(t);
      const photo = await photoIn(folder, format);
      chmodSync(photo, 0o640);
      const before = exifTool(photo);
      const pixels = await sharp(photo).raw().toBuffer();
      assert.equal(await add('embed', 'skip', photo), true);
      const after = exifTool(photo);
      // This one has a keyword of a person in IPTC.
      const expected = { ...words, subjects: format === 'jpeg' ? ['mine'] : words.subjects };
      assert.deepEqual(wordsOf(after), expected);
      assert.deepEqual(exiv2(photo), expected);
      // Where something lies in the file.
      const moved = /:(StripOffsets|ThumbnailOffset|PreviewImageStart)$/;
      const kept = (tags: typeof before) => othersOf(tags).filter(([name]) => !moved.test(name));
      assert.deepEqual(kept(after), kept(before));
      assert.ok(pixels.equals(await sharp(photo).raw().toBuffer()));
      assert.equal(statSync(photo).mode & 0o777, 0o640);
      assert.deepEqual(readdirSync(folder), [`photo.${format}`]);
      assert.equal(await add('embed', 'skip', photo), false, 'twice is as once');
      // The keyword of a person gets the model's beside it, once.
      assert.equal(await add('embed', 'append', photo), format === 'jpeg');
      assert.equal(await add('embed', 'append', photo), false, 'appended twice is as once');
    });
  }

  test('in a JPEG every byte but those of the XMP packet stays', async (t) => {
    const photo = await photoIn(folderOf(t), 'jpeg');
    const others = () =>
      segmentsOf(readFileSync(photo)).filter(
        (segment) => !segment.includes('http://ns.adobe.com/xap/1.0/\0'),
      );
    const before = others();
    assert.ok(before.length > 8);
    await add('embed', 'overwrite', photo);
    assert.deepEqual(others(), before);
  });

  test('a file that ExifTool cannot write is refused, and stays', async (t) => {
    const folder = folderOf(t);
    const photo = join(folder, 'photo.jpg');
    writeFileSync(photo, 'no image');
    await assert.rejects(add('embed', 'skip', photo), { code: 'metadata_unreadable' });
    assert.equal(readFileSync(photo, 'utf8'), 'no image');
    assert.deepEqual(readdirSync(folder), ['photo.jpg']);
  });

  test('a name with a line break is refused: what follows is no option of ExifTool', async (t) => {
    const folder = folderOf(t);
    const other = join(folder, 'photo.jpg');
    await quarters(64, 64).toFile(other);
    const before = readFileSync(other);
    const lines = `${other}\n-Comment=injected\n`;
    copyFileSync(other, `${lines}.jpg`);
    await assert.rejects(add('embed', 'skip', `${lines}.jpg`), { code: 'metadata_unreadable' });
    // A link has a name of its own, and what it points to is replaced.
    mkdirSync(`${lines}folder`);
    copyFileSync(other, `${lines}folder/a.jpg`);
    const link = join(folder, 'link.jpg');
    symlinkSync(`${lines}folder/a.jpg`, link);
    await assert.rejects(add('embed', 'skip', link), { code: 'metadata_unreadable' });
    assert.deepEqual(readFileSync(other), before);
    assert.equal(readdirSync(folder).length, 4);
  });

  test('the command line embeds, and knows the changed photos when it goes on', async (t) => {
    const folder = folderOf(t);
    mkdirSync(join(folder, 'photos'));
    await photoIn(join(folder, 'photos'), 'jpeg');
    await photoIn(join(folder, 'photos'), 'png');
    const args = ['caption', 'photos', '--write', 'embed', '--out', 'out.jsonl', '--resume'];
    const first = await runCommand('cli', args, { folder });
    assert.match(first.stderr, /^pcm-caption: 2 captioned, 0 done before, 0 failed/m);
    assert.match(exiv2(join(folder, 'photos/photo.jpeg')).description, /^[A-Z][a-z]* /);
    const second = await runCommand('cli', args, { folder });
    assert.match(second.stderr, /^pcm-caption: 0 captioned, 2 done before, 0 failed/m);
  });

  test('the command line ends when there is a file of results already', { timeout: 60_000 }, async (t) => {
    const folder = folderOf(t);
    await photoIn(folder, 'jpeg');
    writeFileSync(join(folder, 'out.jsonl'), '');
    const args = ['caption', '.', '--write', 'embed', '--out', 'out.jsonl'];
    const { code, stderr } = await runCommand('cli', args, { folder });
    assert.match(stderr, /out\.jsonl exists/);
    assert.equal(code, 2);
  });
});

describe('a full disk', () => {
  /** A file system of 64 KiB, which `.ci/metadata` mounts. */
  const disk = process.env['SMALL_DISK'] ?? '';

  test('ends it with a clear error; the lines that are written are whole, and it goes on when there is room', async (t) => {
    const folder = folderOf(t);
    mkdirSync(join(folder, 'photos'));
    for (let index = 0; index < 60; index++) {
      writeFileSync(
        join(folder, `photos/${index}.jpg`),
        await quarters(64 + index, 64)
          .jpeg()
          .toBuffer(),
      );
    }
    const out = join(disk, 'out.jsonl');
    const args = ['caption', 'photos', '--out', out, '--resume'];
    writeFileSync(join(disk, 'ballast'), Buffer.alloc(40_000));
    const full = await runCommand('cli', args, { folder });
    assert.match(full.stderr, /^pcm-caption: storage_unavailable: The disk is full\.$/m);
    assert.equal(full.code, 1);
    const whole = readFileSync(out, 'utf8').split('\n').slice(0, -1);
    assert.ok(whole.length > 0);
    for (const line of whole) assert.doesNotThrow(() => JSON.parse(line));
    rmSync(join(disk, 'ballast'));
    const again = await runCommand('cli', [...args.slice(0, -1), '--resume', '--candidates', '1'], {
      folder,
    });
    assert.match(again.stderr, new RegExp(`${whole.length} done before`));
    rmSync(out);
  });

  test('ends it when there is no room for a sidecar', async () => {
    for (const name of ['0.jpg', '1.jpg']) await quarters(64, 64).toFile(join(disk, name));
    assert.throws(
      () => {
        writeFileSync(join(disk, 'ballast'), Buffer.alloc(65_536));
      },
      { code: 'ENOSPC' },
    );
    const { code, stderr } = await runCommand('cli', ['caption', disk, '--write', 'xmp']);
    assert.match(stderr, /^pcm-caption: storage_unavailable: The disk is full\.$/m);
    assert.equal(code, 1);
    assert.deepEqual(readdirSync(disk).sort(), ['0.jpg', '1.jpg', 'ballast']);
  });
});
