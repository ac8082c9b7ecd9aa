// Draws what stands for the photos beside the repository where there are none, as on the public forge:
//   node scripts/draw-photos.mjs ../shared/data 1000
// Tests that ask for photos ask nothing of them that drawings lack.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';

const [folder, count] = process.argv.slice(2);
const images = join(folder, 'images');
mkdirSync(images, { recursive: true });
const lines = [];
for (let index = 0; index < Number(count); index++) {
  const image = `${String(index).padStart(5, '0')}.jpg`;
  await sharp(drawing(index)).jpeg().toFile(join(images, image));
  lines.push(`{"image": "${image}", "split": "val", "captions": ["A disc on a coloured ground"]}\n`);
}
writeFileSync(join(folder, 'captions.jsonl'), lines.join(''));

/** A disc on a ground, each of another colour, size and place. */
function drawing(index) {
  const hue = (index * 47) % 360;
  const [width, height] = [320 + (index % 7) * 40, 240 + (index % 5) * 40];
  return Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <rect width="100%" height="100%" fill="hsl(${hue},60%,70%)"/>
    <circle cx="${60 + ((index * 13) % 200)}" cy="120" r="${30 + (index % 50)}" fill="hsl(${hue + 180},80%,40%)"/>
  </svg>`);
}
