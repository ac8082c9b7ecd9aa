import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { somePhotos } from '../bench/photos/some-photos.js';

const photoFolder = fileURLToPath(new URL('../../../shared/data/images/', import.meta.url));

/** Files of distinct photos: real ones where they lie beside the repository, drawn ones elsewhere. */
export async function photos(count: number): Promise<Buffer[]> {
  const found = await somePhotos(photoFolder, count);
  assert.equal(found.length, count);
  return found;
}
