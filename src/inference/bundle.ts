import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { BundleError, type BundleManifest, parseJson, parseManifest } from './manifest.js';
import type { TagModel } from './tags.js';
import { getRow, type Rows } from './tensors.js';

export interface IdentifiedManifest extends BundleManifest {
  /** SHA-256 of `bundle.json`. It identifies the whole bundle, because `bundle.json` has the hash of every file. */
  readonly digest: string;
}

/** The parts of a bundle that clients may see: its manifest, and the words of its concept vocabulary. */
export interface BundleFacts extends IdentifiedManifest {
  readonly conceptWords: readonly string[];
}

/** The result of comparing one file with its size and hash in `bundle.json`. */
export interface FileCheck {
  readonly name: string;
  /** The size that `bundle.json` states. */
  readonly bytes: number;
  readonly state: 'ok' | 'missing' | 'size' | 'hash';
}

/**
 * Reads and checks `bundle.json`, and no other file.
 * @throws BundleError
 */
export async function readManifestFile(folder: string): Promise<IdentifiedManifest> {
  const text = await readFile(join(folder, 'bundle.json'), 'utf8').catch((error: unknown) => {
    throw new BundleError('bundle.json cannot be read', { folder, cause: error });
  });
  return { ...parseManifest(text), digest: createHash('sha256').update(text).digest('hex') };
}

/**
 * Reads and checks `bundle.json` and the sizes of all files. Their contents are checked where they are read.
 * @param folder the bundle's folder
 * @throws BundleError
 */
export async function readManifest(folder: string): Promise<IdentifiedManifest> {
  const manifest = await readManifestFile(folder);
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    const found = await readSize(folder, name);
    if (found === undefined) throw new BundleError(`${name} is missing from the bundle`);
    if (found !== bytes) {
      throw new BundleError(`${name} has ${found} bytes where bundle.json says ${bytes}`);
    }
  }
  return manifest;
}

/**
 * Compares every file with its size and SHA-256, also those that this process does not use.
 * @throws BundleError when a file cannot be read
 */
export async function* checkFiles(folder: string, manifest: BundleManifest): AsyncGenerator<FileCheck> {
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
    const found = await readSize(folder, name);
    if (found === undefined) yield { name, bytes, state: 'missing' };
    else if (found !== bytes) yield { name, bytes, state: 'size' };
    else yield { name, bytes, state: (await hashFile(folder, name)) === sha256 ? 'ok' : 'hash' };
  }
}

/**
 * Checks the SHA-256 of every file.
 * @throws BundleError naming the first file that differs
 */
export async function verifyFiles(folder: string, manifest: BundleManifest): Promise<void> {
  for await (const { name, state } of checkFiles(folder, manifest))
    if (state !== 'ok') throw createHashError(name);
}

/** Gives undefined when there is no such file. */
async function readSize(folder: string, name: string): Promise<number | undefined> {
  const found = await stat(join(folder, name)).catch(() => undefined);
  return found?.isFile() ? found.size : undefined;
}

async function hashFile(folder: string, name: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(join(folder, name)), hash).catch((error: unknown) => {
    throw new BundleError(`${name} cannot be read`, { cause: error });
  });
  return hash.digest('hex');
}

/**
 * Reads one file. The hash is computed from the bytes that are returned, so a file that changes later does no harm.
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
    throw createHashError(name);
  return content;
}

/**
 * Adds the concept words to the manifest.
 * @throws BundleError
 */
export async function readFacts(folder: string, manifest: IdentifiedManifest): Promise<BundleFacts> {
  return { ...manifest, conceptWords: await readConceptWords(folder, manifest) };
}

/**
 * Reads the words of the bundle's concept vocabulary.
 * @throws BundleError
 */
export async function readConceptWords(folder: string, manifest: BundleManifest): Promise<string[]> {
  const name = manifest.concepts.words;
  const words = parseJson((await readBundleFile(folder, manifest, name)).toString('utf8'), name);
  if (!Value.Check(Type.Array(Type.String({ minLength: 1 }), { minItems: 1, uniqueItems: true }), words)) {
    throw new BundleError(`${name} is not a JSON array of different words`);
  }
  return words;
}

const TagWords = Type.Array(
  Type.Object({
    word: Type.String({ minLength: 1 }),
    forms: Type.Array(Type.String({ minLength: 1 })),
    intercept: Type.Number(),
    coefficients: Type.Array(Type.Number()),
  }),
  { minItems: 1 },
);

/**
 * Reads the words of the bundle's tags, with their embeddings; undefined when it has none.
 * @param conceptWords the words of the concept vocabulary
 * @param embeddings theirs: [C, E]
 * @throws BundleError
 */
export async function readTags(
  folder: string,
  manifest: BundleManifest,
  conceptWords: readonly string[],
  embeddings: Rows,
): Promise<TagModel | undefined> {
  if (manifest.tags === undefined) return undefined;
  const { file, features } = manifest.tags;
  const words = parseJson((await readBundleFile(folder, manifest, file)).toString('utf8'), file);
  if (!Value.Check(TagWords, words)) throw new BundleError(`${file} is not a JSON array of tag words`);
  const { width } = embeddings;
  const data = new Float32Array(words.length * width);
  for (const [index, { word, coefficients }] of words.entries()) {
    const row = conceptWords.indexOf(word);
    if (row === -1) throw new BundleError(`${file}: ${word} is no word of the concept vocabulary`);
    if (coefficients.length !== features.length) {
      throw new BundleError(
        `${file}: ${word} has ${coefficients.length} numbers for ${features.length} features`,
      );
    }
    data.set(getRow(embeddings, row), index * width);
  }
  return { features, words, embeddings: { data, count: words.length, width } };
}

/**
 * Reads the decoder's words, indexed by id; id 0, the beginning and end of a sentence, is the empty string.
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
 * Reads what each word of the vocabulary is a form of; words that may be said again are left out.
 * @param words the vocabulary by id, as `readVocabulary` gives it
 * @throws BundleError
 */
export async function readStems(
  folder: string,
  manifest: BundleManifest,
  name: string,
  words: readonly string[],
): Promise<Map<string, string>> {
  const text = (await readBundleFile(folder, manifest, name)).toString('utf8');
  const stems = ['', ...text.replace(/\n$/, '').split('\n')];
  if (stems.length !== words.length) {
    throw new BundleError(`${name} has ${stems.length - 1} lines for ${words.length - 1} words`);
  }
  return new Map(words.flatMap((word, id) => (stems[id] ? [[word, stems[id]]] : [])));
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
  // Typed arrays have the machine's byte order. No machine that runs ONNX Runtime is big-endian.
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

function createHashError(name: string): BundleError {
  return new BundleError(`${name} differs from its SHA-256 in bundle.json`);
}

/** Best first. Only CPUs run integer arithmetic well; other providers unpack the weights of `w8` to floating point. */
const preferredPrecisions = {
  cpu: ['int8', 'w8', 'fp32', 'fp16'],
  other: ['fp16', 'w8', 'fp32'],
} as const;

/**
 * Chooses the best precision of the bundle for an execution provider.
 * @throws BundleError when the bundle has none that the provider runs
 */
export function choosePrecision(manifest: BundleManifest, provider: string): string {
  const preferred = provider === 'cpu' ? preferredPrecisions.cpu : preferredPrecisions.other;
  const chosen = preferred.find((precision) => Object.hasOwn(manifest.precisions, precision));
  if (chosen === undefined) {
    const offered = Object.keys(manifest.precisions).join(', ');
    throw new BundleError(
      `no precision of the bundle (${offered}) runs on provider ${provider}, which takes ${preferred.join(', ')}`,
    );
  }
  return chosen;
}

/**
 * Gives the manifest as if it had only the wanted precision; `auto` keeps all of them.
 * @throws BundleError when the bundle does not have the precision
 */
export function restrictPrecision<Manifest extends BundleManifest>(
  manifest: Manifest,
  wanted: string,
): Manifest {
  if (wanted === 'auto') return manifest;
  const graphs = manifest.precisions[wanted];
  if (graphs === undefined) {
    const offered = Object.keys(manifest.precisions).join(', ');
    throw new BundleError(`PRECISION must be auto, or what the bundle has (${offered}), not "${wanted}"`);
  }
  return { ...manifest, precisions: { [wanted]: graphs } };
}
