import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const photoFolder = fileURLToPath(new URL('../../../shared/data/images/', import.meta.url));

/** Files of distinct photos: real ones where they lie beside the repository, as they must in CI; drawn ones elsewhere. */
export async function photos(count: number): Promise<Buffer[]> {
  if (process.env['CI'] === 'true' || existsSync(photoFolder)) {
    const names = readdirSync(photoFolder).sort().slice(0, count);
    assert.equal(names.length, count);
    return names.map((name) => readFileSync(photoFolder + name));
  }
  return Promise.all(Array.from({ length: count }, (_, number) => disc(number)));
}

/** A disc on a ground, of colours, a place and a size of its own. */
function disc(number: number): Promise<Buffer> {
  const hue = (number * 47) % 360;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="240" height="200">
    <rect width="240" height="200" fill="hsl(${hue},60%,70%)"/>
    <circle cx="${40 + ((number * 37) % 160)}" cy="100" r="${20 + (number % 60)}" fill="hsl(${hue + 180},80%,40%)"/>
  </svg>`;
  return sharp(Buffer.from(svg)).jpeg().toBuffer();
}
