import { resolve } from 'node:path';
import {
  type FileCheck,
  checkFiles,
  readFacts,
  readManifest,
  readManifestFile,
} from '../inference/bundle.js';
import type { BundleManifest } from '../inference/manifest.js';
import { exitCodes } from './exit-codes.js';

/** `models show`: what a bundle's bundle.json says of it. Throws BundleError. */
export async function showModel(path: string, asJson: boolean): Promise<number> {
  const folder = resolve(path);
  const facts = await readFacts(folder, await readManifest(folder));
  const { conceptWords, ...manifest } = facts;
  if (asJson) print(JSON.stringify({ path: folder, ...manifest }));
  else print(rows([...cardOf(folder, manifest), ['concepts', `${conceptWords.length} words`]]));
  return exitCodes.ok;
}

/** `models verify`: reads every file of a bundle and compares it with bundle.json. Throws BundleError. */
export async function verifyModel(path: string, asJson: boolean): Promise<number> {
  const folder = resolve(path);
  const manifest = await readManifestFile(folder);
  const files: FileCheck[] = [];
  for await (const check of checkFiles(folder, manifest)) {
    files.push(check);
    if (!asJson) print(rows([[stateWords[check.state], `${size(check.bytes)}  ${check.name}`]]));
  }
  const wrong = files.filter(({ state }) => state !== 'ok');
  const { id, version } = manifest;
  if (asJson) print(JSON.stringify({ path: folder, id, version, ok: wrong.length === 0, files }));
  else {
    print(rows(cardOf(folder, manifest)));
    print(
      wrong.length === 0
        ? `${files.length} files are what bundle.json says`
        : `${wrong.length} of ${files.length} files are not what bundle.json says: ${wrong.map(({ name }) => name).join(', ')}`,
    );
  }
  return wrong.length === 0 ? exitCodes.ok : exitCodes.failed;
}

const stateWords: Readonly<Record<FileCheck['state'], string>> = {
  ok: 'ok',
  missing: 'MISSING',
  size: 'OTHER SIZE',
  hash: 'CHANGED',
};

type Row = readonly [name: string, text: string];

/** The facts of a model card that bundle.json holds. */
function cardOf(folder: string, manifest: BundleManifest): Row[] {
  const { image, grid, decoding, files, precisions, calibration, quality } = manifest;
  const bytesOf = (names: readonly string[]) =>
    names.reduce((sum, name) => sum + (files[name]?.bytes ?? 0), 0);
  const graphs = new Set(Object.values(precisions).flatMap((each) => Object.values(each)));
  const tables = bytesOf(Object.keys(files).filter((name) => !graphs.has(name)));
  return [
    ['model', `${manifest.id} ${manifest.version}`],
    ['path', folder],
    ['description', manifest.description],
    ['licence', manifest.licence],
    ...manifest.sources.map((source): Row => ['source', source]),
    [
      'image',
      `${image.width} × ${image.height} pixels, ${image.resize}; ${grid.rows} × ${grid.columns} patches`,
    ],
    ['caption', `at most ${decoding.maxLength} words, beam of ${decoding.beamSize}`],
    ...Object.entries(precisions).map(([name, each]): Row => [
      `precision ${name}`,
      `${size(bytesOf(Object.values(each)) + tables).trim()}${figures(quality[name])}`,
    ]),
    ['confidence', figures(calibration.confidence.error).replace(', ', '')],
    ...(calibration.matchProbability === undefined
      ? []
      : [['matchProbability', figures(calibration.matchProbability.error).replace(', ', '')] as const]),
  ];
}

/** `, name figure` for every number. */
function figures(values: unknown): string {
  const entries = typeof values === 'object' && values !== null ? Object.entries(values) : [];
  return entries
    .flatMap(([name, value]: [string, unknown]) =>
      typeof value === 'number' ? [`, ${name} ${value.toFixed(3)}`] : [],
    )
    .join('');
}

function size(bytes: number): string {
  return `${(bytes / 1e6).toFixed(2).padStart(7)} MB`;
}

function rows(list: readonly Row[]): string {
  return list.map(([name, text]) => `${name.padEnd(17)} ${text}`).join('\n');
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
