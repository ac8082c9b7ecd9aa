import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { test, type TestContext } from 'node:test';
import { type ErrorCode, ServiceError } from '../../src/errors.js';
import { fileProblem } from '../../src/library/files.js';
import { listImages, listObjects, readObject, writeObject } from '../../src/library/storage.js';
import type { StoredObject } from '../../src/library/stored-object.js';

function folderWith(t: TestContext, names: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'pcm-caption-library-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  for (const name of names) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), name);
  }
  return folder;
}

async function namesOf(objects: AsyncIterable<StoredObject>, folder: string): Promise<[string, number][]> {
  const found: [string, number][] = [];
  for await (const { name, bytes } of objects) found.push([relative(folder, name), bytes]);
  return found;
}

async function nextOf(listing: AsyncGenerator<StoredObject, void>): Promise<StoredObject> {
  const next = await listing.next();
  assert.ok(next.done !== true);
  return next.value;
}

test('a listing goes into folders, by number and name, and leaves out what is hidden', async (t) => {
  const names = [
    'b/photo10.jpg',
    'b/photo2.JPG',
    'a.png',
    'b/notes.txt',
    '.trash/x.jpg',
    'b/.x.jpg',
    'c.heic',
  ];
  const folder = folderWith(t, names);
  const images = [
    ['a.png', 5],
    ['b/photo2.JPG', 12],
    ['b/photo10.jpg', 13],
    ['c.heic', 6],
  ];
  assert.deepEqual(await namesOf(listImages(folder), folder), images);
  const all = [...images.slice(0, 1), ['b/notes.txt', 11], ...images.slice(1)];
  assert.deepEqual(await namesOf(listObjects(folder), folder), all);
});

test('a listing reads a folder only when it gets there', async (t) => {
  const folder = folderWith(t, ['a/1.jpg', 'b/2.jpg']);
  const listing = listImages(folder);
  const first = await nextOf(listing);
  assert.equal(first.name, join(folder, 'a/1.jpg'));
  assert.equal(first.modifiedMs, statSync(first.name).mtimeMs);
  rmSync(join(folder, 'b'), { recursive: true });
  const gone = await nextOf(listing);
  assert.equal(gone.name, join(folder, 'b'));
  assert.equal(gone.problem?.code, 'not_found');
});

test('an object is replaced whole, in folders that are made for it, and leaves nothing else', async (t) => {
  const folder = folderWith(t, []);
  const name = join(folder, 'job/parts/1.ndjson');
  for (const content of ['first', Buffer.from('second')]) {
    await writeObject(name, content);
    assert.deepEqual(await readObject(name, { maxBytes: 6 }), Buffer.from(content));
  }
  assert.deepEqual(readdirSync(dirname(name)), ['1.ndjson']);
});

test('a name may be as long as the system takes', async (t) => {
  const name = join(folderWith(t, []), `${'海'.repeat(83)}.xmp`);
  await writeObject(name, 'text');
  assert.equal(readFileSync(name, 'utf8'), 'text');
});

test('what cannot be read or written has a code, and everything stays as it was', async (t) => {
  const folder = folderWith(t, ['a.jpg', 'file/a.jpg']);
  const problems: [ErrorCode, () => Promise<unknown>][] = [
    ['not_found', () => readObject(join(folder, 'none.jpg'), { maxBytes: 100 })],
    ['not_found', () => listImages(join(folder, 'none')).next()],
    ['body_too_large', () => readObject(join(folder, 'a.jpg'), { maxBytes: 4 })],
    // A folder is where the file should be.
    ['not_found', () => writeObject(join(folder, 'file'), 'text')],
    ['not_found', () => readObject(join(folder, 'file'), { maxBytes: 10_000 })],
    ['not_found', () => readObject(join(folder, 'x'.repeat(256)), { maxBytes: 100 })],
    ['not_found', () => writeObject(join(folder, 'x'.repeat(256)), 'text')],
  ];
  for (const [code, action] of problems) await assert.rejects(action(), { code }, code);
  assert.deepEqual(readdirSync(folder).sort(), ['a.jpg', 'file']);
  assert.equal(readFileSync(join(folder, 'file/a.jpg'), 'utf8'), 'file/a.jpg');
});

test('a full disk is said in words', () => {
  assert.throws(
    () => {
      // Each write to this file fails as on a disk without room.
      try {
        writeFileSync('/dev/full', 'text');
      } catch (error) {
        throw fileProblem(error);
      }
    },
    new ServiceError('storage_unavailable', 'The disk is full.'),
  );
});
