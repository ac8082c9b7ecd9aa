// Draws what stands for the photos beside the repository where there are none, as on the public forge:
//   npm run draw-photos -- ../shared/data 1000
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawnPhoto } from '../dist/bench/photos/some-photos.js';

const [folder, count] = process.argv.slice(2);
const images = join(folder, 'images');
mkdirSync(images, { recursive: true });
const lines = [];
for (let number = 0; number < Number(count); number++) {
  const image = `${String(number).padStart(5, '0')}.jpg`;
  writeFileSync(join(images, image), await drawnPhoto(number));
  lines.push(`{"image": "${image}", "split": "val", "captions": ["A disc on a coloured ground"]}\n`);
}
writeFileSync(join(folder, 'captions.jsonl'), lines.join(''));
