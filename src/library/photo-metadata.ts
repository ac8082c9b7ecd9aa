import { ServiceError } from '../errors.js';

/** What is said of a photo, for people and programs that keep photos; texts are empty where there is none. */
export interface PhotoMetadata {
  /** `dc:description`, the caption under a photo. */
  readonly description: string;
  /** `dc:subject`, keywords for search. */
  readonly subjects: readonly string[];
  /** `Iptc4xmpCore:AltTextAccessibility`, for those who do not see the photo. */
  readonly altText: string;
}

/** Where the words about a photo go: a sidecar beside it, the file itself, or a text file beside it. */
export const writeTargets = ['xmp', 'embed', 'txt'] as const;
export type WriteTarget = (typeof writeTargets)[number];

/** Words of photos in one kind of place. Everything throws ServiceError metadata_unreadable, and what storage throws. */
export interface MetadataStore {
  /** @param bytes of the photo */
  read(name: string, bytes: Buffer): Promise<PhotoMetadata>;
  /** Writes what is there after this; all else in the file stays. */
  write(name: string, metadata: PhotoMetadata, bytes: Buffer): Promise<void>;
  /** Fields that can be kept there. */
  readonly fields: readonly (keyof PhotoMetadata)[];
  close(): Promise<void>;
}

/** What becomes of words that a photo has already. */
export const existingModes = ['skip', 'overwrite', 'append'] as const;
export type ExistingMode = (typeof existingModes)[number];

/**
 * Joins what a photo has with what the model says of it. A field that the model leaves empty stays as it is.
 *
 * - skip: only empty fields are filled
 * - overwrite: the model's words take the place of others
 * - append: keywords are added, and the caption is one more line of the description; alt text is one text, and stays
 */
export function mergeMetadata(
  existing: PhotoMetadata,
  added: PhotoMetadata,
  mode: ExistingMode,
): PhotoMetadata {
  const [first, second] = mode === 'overwrite' ? [added, existing] : [existing, added];
  const chosen = {
    description: first.description || second.description,
    subjects: first.subjects.length > 0 ? first.subjects : second.subjects,
    altText: first.altText || second.altText,
  };
  if (mode !== 'append') return chosen;
  return {
    ...chosen,
    description: appendLine(existing.description, added.description),
    subjects: appendWords(existing.subjects, added.subjects),
  };
}

/** Adds a line to a text that does not have it yet: what is written twice, by a run that was resumed, is there once. */
function appendLine(text: string, line: string): string {
  if (text === '' || line === '' || text.split('\n').includes(line)) return text || line;
  return `${text}${text.endsWith('\n') ? '' : '\n'}${line}`;
}

function appendWords(words: readonly string[], added: readonly string[]): string[] {
  const known = new Set(words.map((word) => word.toLowerCase()));
  return [...words, ...added.filter((word) => !known.has(word.toLowerCase()))];
}

export function isSameMetadata(
  a: PhotoMetadata,
  b: PhotoMetadata,
  fields: readonly (keyof PhotoMetadata)[],
): boolean {
  return fields.every((field) => JSON.stringify(a[field]) === JSON.stringify(b[field]));
}

/** @throws ServiceError metadata_unreadable for other encodings: written back, their letters would be lost */
export function decodeUtf8(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw metadataUnreadable('The file beside the photo is not UTF-8.');
  }
}

/** The words about a photo cannot be read or written; the file is as it was. */
export function metadataUnreadable(detail: string): ServiceError {
  return new ServiceError('metadata_unreadable', detail);
}
