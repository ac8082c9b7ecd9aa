import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { somePhotos } from '../bench/photos/some-photos.js';

const photoFolder = fileURLToPath(new URL('../../../shared/data/images/', import.meta.url));

/** Files of distinct photos: real ones where they lie beside the repository, as they must in CI; drawn ones elsewhere. */
export async function photos(count: number): Promise<Buffer[]> {
  assert.ok(existsSync(photoFolder) || process.env['CI'] !== 'true', `CI needs the photos of ${photoFolder}`);
  const found = await somePhotos(photoFolder, count);
  assert.equal(found.length, count);
  return found;
}
