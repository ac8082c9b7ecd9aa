import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { drawnPhoto } from '../../bench/photos/some-photos.js';

/** The development data beside the repository, which a clone may lack. */
const dataFolder = fileURLToPath(new URL('../../../../shared/data/', import.meta.url));
const index = join(dataFolder, 'captions.jsonl');

/** Whether `photoPixels` gives real photos: what is asked of captions of photos cannot be asked of those of drawings. */
export const arePhotosReal = existsSync(index);

interface Size {
  readonly width: number;
  readonly height: number;
}

/**
 * The first photos of the validation split, as pixels [height, width, 3]. Without the data, pictures drawn here take
 * their place: what is tested with them must hold for any image.
 *
 * @param showing what a caption of each photo has to say
 */
export async function photoPixels(count: number, size: Size, showing = /./): Promise<Uint8Array[]> {
  if (!arePhotosReal) {
    return Promise.all(Array.from({ length: count }, (_, number) => drawnPixels(number, size)));
  }
  const names = readFileSync(index, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"split": "val"') && showing.test(line))
    .slice(0, count)
    .map((line) => /"image": "([^"]+)"/.exec(line)?.[1] ?? '');
  return Promise.all(names.map((name) => toPixels(readFileSync(join(dataFolder, 'images', name)), size)));
}

async function drawnPixels(number: number, size: Size): Promise<Uint8Array> {
  return toPixels(await drawnPhoto(number), size);
}

export async function toPixels(file: Buffer, { width, height }: Size): Promise<Uint8Array> {
  const image = sharp(file).resize(width, height, { fit: 'fill', kernel: 'cubic' });
  return new Uint8Array(await image.flatten().toColourspace('srgb').raw().toBuffer());
}
