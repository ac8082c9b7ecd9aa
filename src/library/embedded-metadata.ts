import { copyFile, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import type { ExifTool, WriteTags } from 'exiftool-vendored';
import { fileProblem, replaceFile } from './files.js';
import { metadataUnreadable, type MetadataStore, type PhotoMetadata } from './photo-metadata.js';

/** ExifTool's names of the three fields. */
const tags = {
  description: 'XMP-dc:Description',
  subjects: 'XMP-dc:Subject',
  altText: 'XMP-iptcCore:AltTextAccessibility',
} as const;
/** Where older programs keep a person's words. A reader of the XMP that is written would look there no more. */
const olderTags = ['IPTC:Caption-Abstract', 'EXIF:ImageDescription', 'IPTC:Keywords', 'EXIF:XPKeywords'];

/**
 * XMP in the photo itself, through ExifTool. It works on a copy, which takes the place of the photo when it is whole, and it
 * leaves pixels and all other metadata as they are.
 *
 * @throws ServiceError metadata_unreadable when ExifTool is not there or does not run
 */
export async function createEmbeddedStore(): Promise<MetadataStore> {
  const exiftool = await startExifTool();
  /** What the XMP alone says of photos that were read, by their bytes. */
  const inXmp = new WeakMap<Buffer, PhotoMetadata>();
  return {
    fields: ['description', 'subjects', 'altText'],

    async read(name, bytes) {
      // JSONQ: a keyword 2.50 is a text, where plain JSON of ExifTool would make it 2.5, a number.
      const asTexts = ['-api', 'StructFormat=JSONQ'];
      const readArgs = [...asTexts, ...[...Object.values(tags), ...olderTags].map((tag) => `-${tag}`)];
      const found = await exiftool.readRaw(argumentOf(name), { readArgs }).catch((error: unknown) => {
        throw exifToolProblem(error);
      });
      const fields = new Map<string, unknown>(Object.entries(found));
      const [description = '', ...olderDescriptions] = [
        'Description',
        'Caption-Abstract',
        'ImageDescription',
      ].map((name) => textsOf(fields.get(name)).join().trim());
      const subjects = textsOf(fields.get('Subject'));
      const older = textsOf(fields.get('XPKeywords')).flatMap((words) => words.split(';'));
      const altText = textsOf(fields.get('AltTextAccessibility')).join();
      inXmp.set(bytes, { description, subjects: distinct(subjects), altText });
      return {
        description: [description, ...olderDescriptions].find((text) => text !== '') ?? '',
        subjects: distinct([...subjects, ...textsOf(fields.get('Keywords')), ...older]),
        altText,
      };
    },

    async write(name, { description, subjects, altText }, bytes) {
      const before = inXmp.get(bytes);
      // Without a language, ExifTool would remove the texts in all others. The package's type knows no tags with groups.
      const values: WriteTags & Record<string, string | string[]> = {
        ...(description !== before?.description && { [`${tags.description}-x-default`]: description }),
        ...(JSON.stringify(subjects) !== JSON.stringify(before?.subjects) && {
          [tags.subjects]: [...subjects],
        }),
        ...(altText !== before?.altText && { [`${tags.altText}-x-default`]: altText }),
      };
      if (Object.keys(values).length === 0) return;
      try {
        await replaceFile(name, async (copy) => {
          await copyFile(name, copy);
          await exiftool
            .write(argumentOf(copy), values, { writeArgs: ['-overwrite_original'] })
            .catch((error: unknown) => {
              throw exifToolProblem(error);
            });
          // Another program may have saved the photo meanwhile.
          if (!(await readFile(name)).equals(bytes)) {
            throw metadataUnreadable('The photo was changed by another program meanwhile.');
          }
        });
      } catch (error) {
        throw fileProblem(error);
      }
    },

    close: () => exiftool.end(),
  };
}

async function startExifTool(): Promise<ExifTool> {
  const { ExifTool } = await import('exiftool-vendored').catch(() => {
    throw metadataUnreadable('ExifTool is not installed: npm install exiftool-vendored.');
  });
  // A file takes one of its processes 50 ms, more than the model takes for an image.
  const exiftool = new ExifTool({ maxProcs: availableParallelism() });
  await exiftool.version().catch(async (error: unknown) => {
    await exiftool.end(false);
    throw exifToolProblem(error);
  });
  return exiftool;
}

/** ExifTool takes one argument a line: what follows a line break in a name would be its options, which can run programs. */
function argumentOf(name: string): string {
  const path = resolve(name);
  if (/[\n\r]/.test(path)) throw metadataUnreadable('ExifTool takes no name with a line break.');
  return path;
}

function distinct(words: readonly string[]): string[] {
  return [...new Set(words.map((word) => word.trim()))].filter((word) => word !== '');
}

/** A list of one comes as its text. */
function textsOf(value: unknown): string[] {
  if (value === undefined || value === null) return [];
  return (Array.isArray(value) ? value : [value]).map(String);
}

function exifToolProblem(error: unknown): Error {
  const [line = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
  return metadataUnreadable(`ExifTool cannot do it: ${line}`);
}
