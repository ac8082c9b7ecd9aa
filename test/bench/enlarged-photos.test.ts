import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import sharp from 'sharp';
import { enlargedPhotos, usualLongSide } from '../../bench/photos/enlarged-photos.js';
import { quarters } from '../images/drawn.js';

test('photos are enlarged to 1,024 pixels on the long side, upright, once', async (t) => {
  const folder = await photoFolder(70);
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = await emptyFolder();
  t.after(() => {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
  });
  const photos = await enlargedPhotos(folder, 65, usualLongSide);
  assert.equal(new Set(photos).size, 65);
  // The drawings are 30 × 20 and lie on their side.
  const { width, height, format } = await sharp(photos[0]).metadata();
  assert.deepEqual({ width, height, format }, { width: 683, height: 1024, format: 'jpeg' });

  const marker = Buffer.from('kept');
  await writeFile(photos[0] ?? '', marker);
  assert.deepEqual(await enlargedPhotos(folder, 65, usualLongSide), photos);
  assert.deepEqual(await readFile(photos[0] ?? ''), marker);
  assert.equal((await readdir(process.env['TMPDIR'])).length, 1);
});

test('a folder that is missing or has too few photos is named, and how to name another', async () => {
  const folder = await photoFolder(3);
  await assert.rejects(
    enlargedPhotos(folder, 100, usualLongSide),
    /has 3 photos .* at least 64 .* --photos DIR/,
  );
  await assert.rejects(
    enlargedPhotos(join(folder, 'none'), 100, usualLongSide),
    /cannot read photos from .*none; --photos DIR/,
  );
});

async function emptyFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'pcm-caption-bench-test-'));
}

async function photoFolder(count: number): Promise<string> {
  const folder = await emptyFolder();
  const photo = await quarters(30, 20).withMetadata({ orientation: 6 }).jpeg().toBuffer();
  for (let index = 0; index < count; index += 1) await writeFile(join(folder, `${index}.jpg`), photo);
  return folder;
}
