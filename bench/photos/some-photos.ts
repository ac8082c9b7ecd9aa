import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';

/** The first photos of a folder; without the folder, drawings that are as unlike each other. */
export async function somePhotos(folder: string, count: number): Promise<Buffer[]> {
  if (!existsSync(folder))
    return Promise.all(Array.from({ length: count }, (_, number) => drawnPhoto(number)));
  const names = (await readdir(folder)).filter((name) => name.endsWith('.jpg')).sort();
  return Promise.all(names.slice(0, count).map((name) => readFile(join(folder, name))));
}

/**
 * A JPEG of a disc on a ground, with colours, a place and a size of its own. Its pixels are computed, because a process
 * that has loaded the service's decoder reads no SVG.
 */
export function drawnPhoto(number: number): Promise<Buffer> {
  const [width, height] = [240 + (number % 7) * 40, 200 + (number % 5) * 40];
  const ground = [(number * 47) % 256, (number * 91) % 256, (number * 151) % 256];
  const disc = ground.map((value) => 255 - value);
  const [x, y, radius] = [40 + ((number * 37) % (width - 80)), 100, 20 + (number % 60)];
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, index) => {
    const pixel = Math.floor(index / 3);
    const isInside = Math.hypot((pixel % width) - x, Math.floor(pixel / width) - y) < radius;
    return (isInside ? disc : ground)[index % 3] ?? 0;
  });
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg()
    .toBuffer();
}
