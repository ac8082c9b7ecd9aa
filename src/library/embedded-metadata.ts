import { copyFile, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import type { ExifTool, WriteTags } from 'exiftool-vendored';
import { fileProblem, replaceFile } from './files.js';
import { metadataUnreadable, type MetadataStore } from './photo-metadata.js';

/** ExifTool's names of the three fields. */
const tags = {
  description: 'XMP-dc:Description',
  subjects: 'XMP-dc:Subject',
  altText: 'XMP-iptcCore:AltTextAccessibility',
} as const;
type TagName = (typeof tags)[keyof typeof tags];
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
  return {
    fields: ['description', 'subjects', 'altText'],

    async read(name) {
      const readArgs = [...Object.values(tags), ...olderTags].map((tag) => `-${tag}`);
      const found = await exiftool.readRaw(argumentOf(name), { readArgs }).catch((error: unknown) => {
        throw exifToolProblem(error);
      });
      const fields = new Map<string, unknown>(Object.entries(found));
      const descriptions = ['Description', 'Caption-Abstract', 'ImageDescription'].map((name) =>
        textsOf(fields.get(name)).join().trim(),
      );
      const older = textsOf(fields.get('XPKeywords')).flatMap((words) => words.split(';'));
      const subjects = [...textsOf(fields.get('Subject')), ...textsOf(fields.get('Keywords')), ...older];
      return {
        description: descriptions.find((text) => text !== '') ?? '',
        subjects: [...new Set(subjects.map((word) => word.trim()))].filter((word) => word !== ''),
        altText: textsOf(fields.get('AltTextAccessibility')).join(),
      };
    },

    async write(name, { description, subjects, altText }, bytes) {
      // The package's type knows tags without their groups alone.
      const values: WriteTags & Record<TagName, string | string[]> = {
        [tags.description]: description,
        [tags.subjects]: [...subjects],
        [tags.altText]: altText,
      };
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

/** A list of one, and a text that looks like a number, come as they look. */
function textsOf(value: unknown): string[] {
  if (value === undefined || value === null) return [];
  return (Array.isArray(value) ? value : [value]).map(String);
}

function exifToolProblem(error: unknown): Error {
  const [line = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
  return metadataUnreadable(`ExifTool cannot do it: ${line}`);
}
