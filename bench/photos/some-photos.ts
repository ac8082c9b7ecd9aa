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

/** A JPEG of a disc on a ground, of colours, a place and a size of its own. */
export function drawnPhoto(number: number): Promise<Buffer> {
  const hue = (number * 47) % 360;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="240" height="200">
    <rect width="240" height="200" fill="hsl(${hue},60%,70%)"/>
    <circle cx="${40 + ((number * 37) % 160)}" cy="100" r="${20 + (number % 60)}" fill="hsl(${hue + 180},80%,40%)"/>
  </svg>`;
  return sharp(Buffer.from(svg)).jpeg().toBuffer();
}
