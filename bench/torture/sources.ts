import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';

/** The first photos of a folder; without the folder, drawings that are as unlike each other. */
export async function somePhotos(folder: string, count: number): Promise<Buffer[]> {
  if (!existsSync(folder)) return Promise.all(Array.from({ length: count }, (_, number) => drawing(number)));
  const names = (await readdir(folder)).filter((name) => name.endsWith('.jpg')).sort();
  return Promise.all(names.slice(0, count).map((name) => readFile(join(folder, name))));
}

/** A disc on a ground, of colours, a place and a size of its own. */
function drawing(number: number): Promise<Buffer> {
  const hue = (number * 47) % 360;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="240" height="200">
    <rect width="240" height="200" fill="hsl(${hue},60%,70%)"/>
    <circle cx="${40 + ((number * 37) % 160)}" cy="100" r="${20 + (number % 60)}" fill="hsl(${hue + 180},80%,40%)"/>
  </svg>`;
  return sharp(Buffer.from(svg)).jpeg().toBuffer();
}

const encodings: readonly ((photo: Sharp) => Sharp)[] = [
  (photo) => photo.jpeg(),
  (photo) => photo.jpeg({ progressive: true }).withExif({ IFD0: { Copyright: 'nobody' } }),
  (photo) => photo.toColourspace('cmyk').jpeg(),
  (photo) => photo.png(),
  (photo) => photo.png({ progressive: true, palette: true }),
  (photo) => photo.toColourspace('rgb16').png(),
  (photo) => photo.webp(),
  (photo) => photo.ensureAlpha(0.5).webp({ lossless: true }),
  (photo) => photo.gif(),
  (photo) => photo.avif({ effort: 0 }),
  (photo) => photo.tiff({ compression: 'none' }),
  (photo) => photo.tiff({ compression: 'lzw', predictor: 'horizontal' }),
  (photo) => photo.tiff({ compression: 'deflate', tile: true, tileWidth: 64, tileHeight: 64, pyramid: true }),
  (photo) => photo.tiff({ compression: 'jpeg' }),
];

/** Small files of every format that is taken, each in the kinds that its decoder reads by other code. */
export async function sourceFiles(photos: readonly Buffer[]): Promise<Buffer[]> {
  return Promise.all(
    photos.flatMap((photo) =>
      encodings.map((encode) =>
        encode(sharp(photo).resize(160, 120, { fit: 'fill' }))
          .withMetadata()
          .toBuffer(),
      ),
    ),
  );
}
