import { createHash } from 'node:crypto';
import type { CaptionOptions } from '../captioner/options.js';
import type { CaptionResult } from '../captioner/results.js';
import type { Config } from '../config.js';
import { DiskFull } from '../library/files.js';
import { readObject } from '../library/storage.js';
import { createMetadataWriter, type MetadataWriter } from '../library/metadata-writer.js';
import type { PhotoMetadata, WriteTarget } from '../library/photo-metadata.js';
import { isS3Name } from '../library/s3.js';
import { printable } from './answer-writer.js';
import { createConsole } from './console.js';
import { exitCodes, Interrupted, UsageError } from './exit-codes.js';
import type { Inputs } from './inputs.js';
import type { LibraryOptions } from './library-flags.js';
import { type Ask, withLocalModel } from './local-model.js';
import { type CaptionLine, ResultFile } from './result-file.js';

export interface CaptionLibraryOptions {
  readonly inputs: Inputs;
  readonly captionOptions: CaptionOptions;
  readonly library: LibraryOptions;
  /** Whose captions count as done. */
  readonly model: { readonly id: string; readonly version: string };
  /** Starts the model; replaced where its time alone matters. */
  readonly start?: typeof withLocalModel;
}

/** What became of an image that did not fail. */
type Fate = { readonly kind: 'captioned'; readonly line: CaptionLine } | { readonly kind: 'done' };

/**
 * Captions an archive: lines into a file, words beside or into the photos. What is done is passed over, and whatever ends it,
 * it goes on from there.
 *
 * @returns the exit code
 * @throws UsageError, Interrupted, ServiceError of what is written to, and what starting the model throws
 */
export async function captionLibrary(
  config: Config,
  { inputs: { inputs, passedOver }, captionOptions, library, model, start }: CaptionLibraryOptions,
): Promise<number> {
  const { out, resume, write, existing } = library;
  if (write !== undefined) checkWritable(inputs, write);
  const output = createConsole();
  if (passedOver > 0) output.say(`passed over in folders, as no images by their names: ${passedOver}`);
  const writer = write === undefined ? undefined : await createMetadataWriter(write, existing);
  const results =
    out === undefined
      ? undefined
      : await ResultFile.open(out, resume ? { model, written: write } : undefined).catch(
          async (error: unknown) => {
            // The processes of ExifTool would keep this one from ending.
            await writer?.close();
            throw error;
          },
        );
  if (results !== undefined && results.foreignLines > 0) {
    output.say(`lines of ${String(out)} that are no answers, and are left there: ${results.foreignLines}`);
  }
  /** The next image would fail as this one did. */
  let fatal: DiskFull | undefined;

  const ask: Ask<Fate> = async (captioner, { name, bytes }, context) => {
    const sha256 = hash(bytes);
    if (results?.isDone(name, sha256) === true) return { kind: 'done' };
    if (results === undefined && (await writer?.isComplete(name, bytes)) === true) return { kind: 'done' };
    const known = await results?.find(sha256);
    const result =
      known?.result ?? (await captioner.caption({ kind: 'bytes', bytes }, captionOptions, context));
    const line = { file: name, sha256, result };
    if (writer === undefined || write === undefined) return { kind: 'captioned', line };
    const isChanged = await addWords(writer, name, bytes, result);
    // A photo that has words in it is another content, and that is what a resumed run will see.
    const after = isChanged && write === 'embed' ? hash(await readAgain(name)) : sha256;
    return { kind: 'captioned', line: { ...line, sha256: after, written: write } };
  };

  async function addWords(
    target: MetadataWriter,
    name: string,
    bytes: Buffer,
    result: CaptionResult,
  ): Promise<boolean> {
    try {
      return await target.add(name, bytes, metadataOf(result));
    } catch (error) {
      if (error instanceof DiskFull) fatal ??= error;
      throw error;
    }
  }

  const counts = { captioned: 0, done: 0, failed: 0 };
  const began = performance.now();
  output.startBar(inputs.length);
  try {
    await (start ?? withLocalModel)(config, inputs.length, async (local, signal) => {
      for await (const answer of local.answerAll(inputs, ask, signal)) {
        if (fatal !== undefined) throw fatal;
        if ('error' in answer) {
          counts.failed += 1;
          output.say(`${printable(answer.file)}: ${answer.error.code}: ${answer.error.detail}`);
          await results?.addFailure(answer.file, answer.error);
        } else {
          counts[answer.result.kind] += 1;
          if (answer.result.kind === 'captioned') await results?.addCaption(answer.result.line);
        }
        output.advanceBar('error' in answer);
      }
    });
  } catch (error) {
    if (error instanceof Interrupted) {
      const sum = counts.captioned + counts.done + counts.failed;
      const remedy = out === undefined ? '' : '; --resume goes on from there';
      output.say(`stopped after ${sum} of ${inputs.length} images${remedy}`);
    }
    throw error;
  } finally {
    output.stopBar();
    await writer?.close();
    await results?.close();
  }
  const { captioned, done, failed } = counts;
  const seconds = (performance.now() - began) / 1000;
  output.say(
    `${captioned} captioned, ${done} done before, ${failed} failed, in ${seconds.toFixed(0)} s (${(captioned / seconds).toFixed(1)} images/s)`,
  );
  return failed === 0 ? exitCodes.ok : exitCodes.someFailed;
}

/** @throws UsageError */
function checkWritable(inputs: Inputs['inputs'], write: WriteTarget): void {
  if (inputs.some(({ name }) => name === '-')) {
    throw new UsageError('--write needs files: there is none behind standard input');
  }
  if (write === 'embed' && inputs.some(({ name }) => isS3Name(name))) {
    throw new UsageError('--write embed needs files; beside objects of S3, write xmp or txt');
  }
}

function metadataOf({ caption, tags = [] }: CaptionResult): PhotoMetadata {
  return { description: caption ?? '', subjects: tags.map(({ word }) => word), altText: caption ?? '' };
}

function readAgain(name: string): Promise<Buffer> {
  return readObject(name, { maxBytes: Infinity });
}

function hash(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
