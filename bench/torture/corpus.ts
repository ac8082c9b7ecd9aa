import { readFileSync, writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { ServiceError } from '../../src/errors.js';
import type { PixelTarget } from '../../src/images/decode.js';
import { DecodePool } from '../../src/images/decode-pool.js';
import { markdownTable } from '../measure/table.js';
import { somePhotos } from '../photos/some-photos.js';
import { imageOf, type OddFile, oddFiles, type Picture } from './odd-files.js';
import type { Torture, TortureContext, TortureResult } from './torture.js';

const target: PixelTarget = { width: 96, height: 64, resize: 'stretch', kernel: 'cubic' };
/** The settings that the service begins with, and time for a machine that does other things too. */
const options = {
  decoders: 2,
  maxPixels: 50_000_000,
  maxSide: 65_535,
  heic: true,
  decodeTimeoutMs: 30_000,
  decodeMemoryBytes: 1024 ** 3,
};
/** This file is compiled to dist/bench/torture. */
const docs = new URL('../../../docs/images.md', import.meta.url);
const [begin, end] = ['<!-- corpus: npm run torture -- corpus -->', '<!-- /corpus -->'];

export const corpus: Torture = {
  name: 'corpus',
  help: 'files of odd varieties against their clean pictures; writes its table into docs/images.md',
  inflict,
};

async function inflict({ photoFolder, progress }: TortureContext): Promise<TortureResult> {
  const photos = await somePhotos(photoFolder, 2);
  const made = await Promise.all(photos.map(async (photo) => oddFiles(await pictureOf(photo))));
  const files = made.flatMap(({ files: some }) => some);
  const skipped = made.reduce((sum, { skipped: some }) => sum + some, 0);
  progress(`${files.length} files; ${skipped} skipped for want of heif-enc`);

  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const pool = new DecodePool(options, log);
  const rows = new Map<string, { files: number; shown: number; refused: number; missed: number }>();
  const failures: string[] = [];
  for (const file of files) {
    const row = rows.get(file.kind) ?? { files: 0, shown: 0, refused: 0, missed: 0 };
    rows.set(file.kind, row);
    row.files += 1;
    const miss = await missOf(pool, file);
    if (miss !== undefined) {
      row.missed += 1;
      failures.push(`${file.kind}, ${file.name}: ${miss}`);
    } else if ('picture' in file.right) row.shown += 1;
    else row.refused += 1;
  }
  await pool.close();

  const table = markdownTable(
    ['kind', 'files', 'like the clean picture', 'refused by the right code', 'missed'],
    [...rows].map(([kind, { files: count, shown, refused, missed }]) => [
      kind,
      ...[count, shown, refused, missed].map(String),
    ]),
  );
  const text = `${files.length} files, ${skipped} skipped for want of \`heif-enc\`.\n\n${table}`;
  if (skipped === 0) writeIntoDocs(text);
  return { text, failures };
}

async function pictureOf(photo: Buffer): Promise<Picture> {
  const { data, info } = await sharp(photo)
    .resize(320, 208, { fit: 'fill' })
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { pixels: data, width: info.width, height: info.height };
}

/** How the answer differs from what is right; undefined where it does not. */
async function missOf(pool: DecodePool, { bytes, right }: OddFile): Promise<string | undefined> {
  const request = { priority: 'single', signal: new AbortController().signal } as const;
  let pixels: Uint8Array;
  try {
    ({ pixels } = await pool.decode(bytes, target, request));
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    return 'code' in right && error.code === right.code ? undefined : `${error.code}: ${error.detail}`;
  }
  if ('code' in right) return `decoded, though it is ${right.code}`;
  const clean = await imageOf(right.picture)
    .resize(target.width, target.height, { fit: 'fill', kernel: target.kernel })
    .raw()
    .toBuffer();
  const mean =
    pixels.reduce((sum, level, at) => sum + Math.abs(level - (clean[at] ?? NaN)), 0) / pixels.length;
  return mean <= right.within ? undefined : `differs by ${mean.toFixed(1)} of 255 on average`;
}

function writeIntoDocs(text: string): void {
  const page = readFileSync(docs, 'utf8');
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from === -1 || to === -1) throw new Error('docs/images.md has no place for the table of the corpus');
  writeFileSync(docs, `${page.slice(0, from)}${begin}\n\n${text}\n\n${page.slice(to)}`);
}
