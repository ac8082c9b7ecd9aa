import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { parseCaptionOptions } from '../captioner/options.js';
import type { Config } from '../config.js';
import type { ServiceError } from '../errors.js';
import { readManifest } from '../inference/bundle.js';
import { fileProblem } from '../library/files.js';
import { isS3Name } from '../library/s3.js';
import { SearchIndex } from '../library/search-index.js';
import { listImages } from '../library/storage.js';
import type { StoredObject } from '../library/stored-object.js';
import { printable } from './answer-writer.js';
import { createConsole } from './console.js';
import { exitCodes, Interrupted, UsageError } from './exit-codes.js';
import { type Ask, withLocalModel } from './local-model.js';

export interface IndexOptions {
  /** The file of the index; by default a hidden one in the folder. */
  readonly index?: string | undefined;
  /** Whether images are captioned and tagged too. */
  readonly captions: boolean;
}

/**
 * `index DIR`: brings the index to what the folder holds. Files of the same size and time are not read again, contents that
 * are indexed under another name are not embedded again, and files that have gone leave the index.
 *
 * @returns the exit code
 * @throws UsageError, Interrupted, ServiceError of folder and index, and what starting the model throws
 */
export async function indexFolder(
  config: Config,
  folder: string,
  { index: path, captions }: IndexOptions,
): Promise<number> {
  const { id, version, dimensions, decoding } = await readManifest(config.modelPath);
  const captionOptions = parseCaptionOptions({ texts: [], members: {} }, decoding.maxLength);
  const output = createConsole();
  if (!isS3Name(folder) && !(await stat(folder).catch(notFound)).isDirectory()) {
    throw new UsageError(`${folder} is not a folder`);
  }
  const index = await SearchIndex.openForWriting(indexPath(folder, path), {
    id,
    version,
    dimensions: dimensions.embedding,
  });
  const counts = { indexed: 0, renamed: 0, failed: 0 };
  let total = 0;

  try {
    const { files, problems, unchanged, gone } = await compare(folder, index, captions);
    total = files.size;

    const ask: Ask<'indexed' | 'renamed'> = async (captioner, { name: file, bytes: image }, context) => {
      const { bytes = 0, modifiedMs = 0 } = files.get(file) ?? {};
      const name = nameBelow(folder, file);
      const sha256 = createHash('sha256').update(image).digest('hex');
      if (index.copy(sha256, { name, bytes, modifiedMs }, captions)) return 'renamed';
      const source = { kind: 'bytes', bytes: image } as const;
      const embedding = await captioner.embedImage(source, context);
      const { caption = null, tags = [] } = captions
        ? await captioner.caption(source, captionOptions, context)
        : {};
      const words = tags.map(({ word }) => word);
      index.put({ name, bytes, modifiedMs, sha256, embedding, caption, tags: words });
      return 'indexed';
    };
    const tell = (file: string, { code, detail }: ServiceError): void => {
      counts.failed += 1;
      output.say(`${printable(file)}: ${code}: ${detail}`);
    };

    for (const { name, problem } of problems) tell(name, problem);
    if (files.size > 0) {
      output.startBar(files.size);
      await withLocalModel(config, files.size, async (model, signal) => {
        const inputs = [...files.keys()].map((name) => ({ name }));
        for await (const answer of model.answerAll(inputs, ask, signal)) {
          if ('error' in answer) tell(answer.file, answer.error);
          else counts[answer.result] += 1;
          output.advanceBar('error' in answer);
        }
      });
    }
    for (const name of gone) index.remove(name);
    output.stopBar();
    const { indexed, renamed, failed } = counts;
    output.say(
      `${index.size} images in the index: ${indexed} indexed, ${renamed} under another name, ${unchanged} unchanged, ${gone.length} gone, ${failed} failed`,
    );
  } catch (error) {
    output.stopBar();
    if (error instanceof Interrupted) {
      const { indexed, renamed, failed } = counts;
      output.say(`stopped after ${indexed + renamed + failed} of ${total} images; the same command goes on`);
    }
    throw error;
  } finally {
    index.close();
  }
  return counts.failed === 0 ? exitCodes.ok : exitCodes.someFailed;
}

function notFound(error: unknown): never {
  throw fileProblem(error);
}

interface Difference {
  /** To be read, by their names. */
  readonly files: ReadonlyMap<string, StoredObject>;
  /** Folders that cannot be read. */
  readonly problems: readonly { readonly name: string; readonly problem: ServiceError }[];
  readonly unchanged: number;
  /** Names in the index whose files have gone. */
  readonly gone: readonly string[];
}

/** @param captions whether images without a caption are to get one */
async function compare(folder: string, index: SearchIndex, captions: boolean): Promise<Difference> {
  const known = new Map([...index.known()].map((each) => [each.name, each]));
  const files = new Map<string, StoredObject>();
  const problems: { name: string; problem: ServiceError }[] = [];
  let unchanged = 0;
  for await (const object of listImages(folder)) {
    const { name: file, bytes, modifiedMs, problem } = object;
    if (problem !== undefined) {
      problems.push({ name: file, problem });
      continue;
    }
    const name = nameBelow(folder, file);
    const before = known.get(name);
    known.delete(name);
    const isSame = before?.bytes === bytes && before.modifiedMs === modifiedMs;
    if (isSame && (before.isCaptioned === 1 || !captions)) unchanged += 1;
    else files.set(file, object);
  }
  // What is below a folder that cannot be read now may still be there.
  const unread = problems.map(({ name }) => `${nameBelow(folder, name)}/`);
  const gone = [...known.keys()].filter((name) => !unread.some((prefix) => name.startsWith(prefix)));
  return { files, problems, unchanged, gone };
}

/** Where the index of a folder is. @throws UsageError for a bucket without one named */
export function indexPath(folder: string, path: string | undefined): string {
  if (path !== undefined) return path;
  if (isS3Name(folder)) throw new UsageError('an index of S3 is a file here: name it with --index');
  return join(folder, '.pcm-caption-index.db');
}

function nameBelow(folder: string, file: string): string {
  const name = isS3Name(folder) ? file.slice(folder.length) : relative(folder, file);
  return name.replaceAll('\\', '/');
}
