import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import pLimit from 'p-limit';
import sharp from 'sharp';
import { BenchError } from '../figures/figure.js';

/** Pixels on the long side, about what a web page sends. */
export const usualLongSide = 1024;
const jpegQuality = 90;
/** Twice as many as are ever in flight, so that no two requests at a time carry the same photo. */
const fewestPhotos = 64;

/**
 * Photos of a folder as JPEG of one size; made once and kept in the system's temporary folder.
 * @param count how many, taken evenly from the folder's names in order
 * @param longSide in pixels
 * @returns paths of the files
 * @throws BenchError when the folder has too few photos
 */
export async function enlargedPhotos(folder: string, count: number, longSide: number): Promise<string[]> {
  const source = resolve(folder);
  const found = await readdir(source).catch((cause: unknown) => {
    throw new BenchError(`cannot read photos from ${source}; --photos DIR names another folder`, { cause });
  });
  const names = found.filter((name) => /\.(jpe?g|png|webp)$/i.test(name)).sort();
  if (names.length < fewestPhotos) {
    throw new BenchError(
      `${source} has ${names.length} photos (JPEG, PNG or WebP) where at least ${fewestPhotos} are needed; --photos DIR names another folder`,
    );
  }
  const chosen = evenly(names, Math.min(count, names.length));
  const key = createHash('sha256')
    .update(JSON.stringify([source, longSide, jpegQuality]))
    .digest('hex');
  const made = join(tmpdir(), `pcm-caption-bench-${key.slice(0, 12)}`);
  await mkdir(made, { recursive: true });
  const limit = pLimit(availableParallelism());
  return Promise.all(
    chosen.map((name) => limit(() => enlarge(join(source, name), join(made, `${name}.jpg`), longSide))),
  );
}

function evenly(names: readonly string[], count: number): string[] {
  return names.filter(
    (_, index) =>
      Math.floor((index * count) / names.length) !== Math.floor(((index - 1) * count) / names.length),
  );
}

async function enlarge(from: string, to: string, longSide: number): Promise<string> {
  if (existsSync(to)) return to;
  const jpeg = await sharp(await readFile(from))
    .autoOrient()
    .resize(longSide, longSide, { fit: 'inside', kernel: 'cubic' })
    .jpeg({ quality: jpegQuality })
    .toBuffer();
  // Under its own name only when it is whole: an interrupted run leaves no half a photo behind.
  await writeFile(`${to}.part`, jpeg);
  await rename(`${to}.part`, to);
  return to;
}
