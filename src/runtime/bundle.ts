import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { BundleError, type BundleManifest, parseJson, parseManifest } from './bundle-manifest.js';
import type { Rows } from './vectors.js';

export interface IdentifiedManifest extends BundleManifest {
  /** SHA-256 of `bundle.json`: as that lists the hash of every other file, it stands for the bundle's whole content. */
  readonly digest: string;
}

/** What others may know of a bundle: its manifest, and the words of its concept vocabulary. */
export interface BundleFacts extends IdentifiedManifest {
  readonly conceptWords: readonly string[];
}

/** What is there of one file of a bundle. */
export interface FileCheck {
  readonly name: string;
  /** As `bundle.json` says. */
  readonly bytes: number;
  readonly state: 'ok' | 'missing' | 'size' | 'hash';
}

/**
 * Reads `bundle.json` alone.
 * @throws BundleError
 */
export async function readManifestFile(folder: string): Promise<IdentifiedManifest> {
  const text = await readFile(join(folder, 'bundle.json'), 'utf8').catch((error: unknown) => {
    throw new BundleError('bundle.json cannot be read', { folder, cause: error });
  });
  return { ...parseManifest(text), digest: createHash('sha256').update(text).digest('hex') };
}

/**
 * Reads and checks `bundle.json` and the sizes of all files; their contents are checked where they are read.
 * @param folder the bundle's folder
 * @throws BundleError
 */
export async function readManifest(folder: string): Promise<IdentifiedManifest> {
  const manifest = await readManifestFile(folder);
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    const found = await fileSize(folder, name);
    if (found === undefined) throw new BundleError(`${name} is missing from the bundle`);
    if (found !== bytes) {
      throw new BundleError(`${name} has ${found} bytes where bundle.json says ${bytes}`);
    }
  }
  return manifest;
}

/** Compares every file with its size and SHA-256, whether or not this process uses it. Throws BundleError. */
export async function* checkFiles(folder: string, manifest: BundleManifest): AsyncGenerator<FileCheck> {
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
    const found = await fileSize(folder, name);
    if (found === undefined) yield { name, bytes, state: 'missing' };
    else if (found !== bytes) yield { name, bytes, state: 'size' };
    else yield { name, bytes, state: (await fileHash(folder, name)) === sha256 ? 'ok' : 'hash' };
  }
}

/**
 * Checks the SHA-256 of every file.
 * @throws BundleError naming the first file that differs
 */
export async function verifyFiles(folder: string, manifest: BundleManifest): Promise<void> {
  for await (const { name, state } of checkFiles(folder, manifest)) if (state !== 'ok') throw changed(name);
}

async function fileSize(folder: string, name: string): Promise<number | undefined> {
  const found = await stat(join(folder, name)).catch(() => undefined);
  return found?.isFile() ? found.size : undefined;
}

async function fileHash(folder: string, name: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(join(folder, name)), hash).catch((error: unknown) => {
    throw new BundleError(`${name} cannot be read`, { cause: error });
  });
  return hash.digest('hex');
}

/**
 * Reads one file, and checks the very bytes that are handed out.
 * @throws BundleError when the file is absent or differs from its hash
 */
export async function readBundleFile(
  folder: string,
  manifest: BundleManifest,
  name: string,
): Promise<Buffer> {
  const content = await readFile(join(folder, name)).catch((error: unknown) => {
    throw new BundleError(`${name} cannot be read`, { cause: error });
  });
  if (createHash('sha256').update(content).digest('hex') !== manifest.files[name]?.sha256)
    throw changed(name);
  return content;
}

/** Adds to the manifest what the HTTP side shows of the bundle's files. */
export async function readFacts(folder: string, manifest: IdentifiedManifest): Promise<BundleFacts> {
  return { ...manifest, conceptWords: await readConceptWords(folder, manifest) };
}

/** @throws BundleError */
export async function readConceptWords(folder: string, manifest: BundleManifest): Promise<string[]> {
  const name = manifest.concepts.words;
  const words = parseJson((await readBundleFile(folder, manifest, name)).toString('utf8'), name);
  if (!Value.Check(Type.Array(Type.String({ minLength: 1 }), { minItems: 1, uniqueItems: true }), words)) {
    throw new BundleError(`${name} is not a JSON array of different words`);
  }
  return words;
}

/**
 * The decoder's words by id; id 0, the beginning and end of a sentence, is the empty string.
 * @throws BundleError
 */
export async function readVocabulary(folder: string, manifest: BundleManifest): Promise<string[]> {
  const text = (await readBundleFile(folder, manifest, manifest.vocabulary)).toString('utf8');
  const words = ['', ...text.replace(/\n$/, '').split('\n')];
  if (words.length !== manifest.dimensions.vocabulary) {
    throw new BundleError(
      `${manifest.vocabulary} has ${words.length - 1} words where ${manifest.dimensions.vocabulary - 1} are expected`,
    );
  }
  for (const word of manifest.decoding.blockedWords) {
    if (!words.includes(word))
      throw new BundleError(`bundle.json: /decoding/blockedWords: ${word} is not a word`);
  }
  return words;
}

/**
 * Reads embeddings stored as little-endian float32, [count, width] row-major.
 * @throws BundleError
 */
export async function readRows(
  folder: string,
  manifest: BundleManifest,
  name: string,
  shape: { count: number; width: number },
): Promise<Rows> {
  // Typed arrays have the machine's byte order; no machine that runs ONNX Runtime is big-endian.
  if (endianness() !== 'LE') throw new BundleError('bundles are served on little-endian machines only');
  const content = await readBundleFile(folder, manifest, name);
  const { count, width } = shape;
  if (content.byteLength !== count * width * 4) {
    throw new BundleError(
      `${name} has ${content.byteLength} bytes where ${count} × ${width} float32 are expected`,
    );
  }
  return { data: new Float32Array(new Uint8Array(content).buffer), count, width };
}

function changed(name: string): BundleError {
  return new BundleError(`${name} differs from its SHA-256 in bundle.json`);
}
