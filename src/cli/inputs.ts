import { readdir, stat } from 'node:fs/promises';
import { extname, join, resolve } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { ServiceError } from '../problem.js';
import { fileProblem } from './read-input.js';

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

/** Formats that are taken, and HEIC: photos in a folder that cannot be read are named, not left out in silence. */
const imageNames = /^\.(jpe?g|jpe|jfif|png|webp|gif|avif|tiff?|hei[cf])$/i;
/** photo2 comes before photo10, on every machine. */
const { compare } = new Intl.Collator('en', { numeric: true });

/**
 * Turns arguments into images, in the order of the arguments and by name within each: a file is taken whatever its name,
 * a folder gives the images below it (hidden ones left out), a pattern the files it matches. A file that is named twice
 * is taken once.
 */
export async function collectInputs(args: readonly string[]): Promise<Inputs> {
  const inputs = new Map<string, Input>();
  let passedOver = 0;
  const add = (input: Input): void => {
    const key = input.name === '-' ? '-' : resolve(input.name);
    if (!inputs.has(key)) inputs.set(key, input);
  };

  async function addFolder(folder: string): Promise<number> {
    let found = 0;
    const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
      add({ name: folder, problem: fileProblem(error) });
      found += 1;
      return [];
    });
    for (const entry of entries.sort((a, b) => compare(a.name, b.name))) {
      if (entry.name.startsWith('.')) continue;
      const name = join(folder, entry.name);
      if (entry.isDirectory()) found += await addFolder(name);
      else if (!imageNames.test(extname(name))) passedOver += 1;
      else {
        add({ name });
        found += 1;
      }
    }
    return found;
  }

  for (const arg of args) {
    if (arg === '-') {
      add({ name: arg });
      continue;
    }
    const found = await stat(arg).catch((error: unknown) => fileProblem(error));
    if (found instanceof ServiceError) {
      const names = isDynamicPattern(arg) ? await matches(arg) : [];
      for (const name of names) add({ name });
      if (names.length === 0) add({ name: arg, problem: found });
    } else if (!found.isDirectory()) add({ name: arg });
    else if ((await addFolder(arg)) === 0) {
      add({ name: arg, problem: new ServiceError('missing_image', 'There is no image in this folder.') });
    }
  }
  return { inputs: [...inputs.values()], passedOver };
}

/** A shell would have expanded the pattern, had it not been quoted, or were there not too many files. */
async function matches(pattern: string): Promise<string[]> {
  const names = await glob(pattern, { expandDirectories: false, absolute: pattern.startsWith('/') });
  return names.sort(compare);
}
