import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { ServiceError } from '../errors.js';
import { fileProblem, readStream } from '../library/files.js';
import { isS3Name } from '../library/s3.js';
import { isImageName, listObjects, readObject } from '../library/storage.js';
import { UsageError } from './exit-codes.js';

/** One image to read, or what is wrong with an argument that names none. */
export interface Input {
  /** As the user would write it; `-` is standard input. */
  readonly name: string;
  readonly problem?: ServiceError;
}

export interface Inputs {
  readonly inputs: readonly Input[];
  /** Files in folders that are no images by their name. */
  readonly passedOver: number;
}

/** photo2 comes before photo10, on every machine. */
const { compare } = new Intl.Collator('en', { numeric: true });

/**
 * Turns arguments into images, in the order of the arguments and by name within each: a file is taken whatever its name,
 * a folder gives the images below it (hidden ones left out), an `s3://` address those whose keys begin with it, a pattern
 * the files it matches. A file that is named twice is taken once.
 */
export async function collectInputs(args: readonly string[]): Promise<Inputs> {
  const inputs = new Map<string, Input>();
  const others: string[] = [];
  const add = (input: Input): void => {
    const key = input.name === '-' || isS3Name(input.name) ? input.name : resolve(input.name);
    if (!inputs.has(key)) inputs.set(key, input);
  };

  async function addAll(source: string): Promise<void> {
    let found = 0;
    try {
      for await (const { name, problem } of listObjects(source)) {
        if (problem === undefined && !isImageName(name)) others.push(name);
        else {
          add({ name, ...(problem !== undefined && { problem }) });
          found += 1;
        }
      }
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      add({ name: source, problem: error });
      return;
    }
    if (found === 0) {
      add({ name: source, problem: new ServiceError('missing_image', 'There is no image in this folder.') });
    }
  }

  for (const arg of args) {
    if (arg === '-') add({ name: arg });
    else if (isS3Name(arg)) await addAll(arg);
    else {
      const found = await stat(arg).catch((error: unknown) => fileProblem(error));
      if (found instanceof ServiceError) {
        const names = isDynamicPattern(arg) ? await matches(arg) : [];
        for (const name of names) add({ name });
        if (names.length === 0) add({ name: arg, problem: found });
      } else if (found.isDirectory()) await addAll(arg);
      else add({ name: arg });
    }
  }
  // What `--write` puts beside photos is no photo that was missed.
  const named = new Set([...inputs.values()].flatMap(({ name }) => [name, withoutExtension(name)]));
  const passedOver = others.filter((name) => !named.has(withoutExtension(name))).length;
  return { inputs: [...inputs.values()], passedOver };
}

function withoutExtension(name: string): string {
  return name.replace(/\.[^./\\]+$/, '');
}

/**
 * The names of a list, one a line, or each ended by a zero byte as `find -print0` writes them.
 *
 * @throws UsageError
 */
export async function readList(name: string): Promise<string[]> {
  try {
    const bytes = await (name === '-'
      ? readStream(process.stdin, Infinity)
      : readObject(name, { maxBytes: Infinity }));
    const text = bytes.toString('utf8');
    return text.split(text.includes('\0') ? '\0' : /\r?\n/).filter((line) => line !== '');
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    throw new UsageError(`--files-from ${name}: ${error.detail}`);
  }
}

/** A shell would have expanded the pattern, had it not been quoted, or were there not too many files. */
async function matches(pattern: string): Promise<string[]> {
  const names = await glob(pattern, { expandDirectories: false, absolute: pattern.startsWith('/') });
  return names.sort(compare);
}
