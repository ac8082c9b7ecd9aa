import { Option } from 'commander';
import {
  type ExistingMode,
  existingModes,
  type WriteTarget,
  writeTargets,
} from '../library/photo-metadata.js';
import type { Flags } from './caption-flags.js';
import { UsageError } from './exit-codes.js';

/** Where the captions of an archive go. */
export interface LibraryOptions {
  /** A file of JSON lines. */
  readonly out?: string;
  readonly resume: boolean;
  readonly write?: WriteTarget;
  readonly existing: ExistingMode;
}

export function libraryFlags(): Option[] {
  return [
    new Option('--files-from <list>', 'read names from a file, one a line; - is standard input'),
    new Option('--out <file>', 'write JSON lines into a file that does not exist yet').conflicts([
      'json',
      'csv',
    ]),
    new Option('--resume', 'go on with the file of --out: what it has of the same content is not done again'),
    new Option(
      '--write <where>',
      'write caption, tags and alt text: xmp, a sidecar beside each photo; embed, into the photo itself (ExifTool); txt, the caption alone beside it',
    )
      .choices(writeTargets)
      .conflicts(['json', 'csv']),
    new Option(
      '--existing <how>',
      'of --write, what becomes of words that are there: skip fills empty fields, overwrite replaces, append adds (default: skip)',
    ).choices(existingModes),
  ];
}

/** @returns undefined where the answers go to standard output. Throws UsageError. */
export function parseLibraryFlags(flags: Flags): LibraryOptions | undefined {
  const out = typeof flags['out'] === 'string' ? flags['out'] : undefined;
  const write = writeTargets.find((target) => target === flags['write']);
  const existing = existingModes.find((mode) => mode === flags['existing']);
  const resume = flags['resume'] === true;
  if (resume && out === undefined) throw new UsageError('--resume needs --out: the file to go on with');
  if (existing !== undefined && write === undefined) throw new UsageError('--existing needs --write');
  if (out === undefined && write === undefined) return undefined;
  return {
    resume,
    existing: existing ?? 'skip',
    ...(out !== undefined && { out }),
    ...(write !== undefined && { write }),
  };
}
