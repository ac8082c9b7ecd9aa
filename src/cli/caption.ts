import type { Config } from '../config.js';
import { readManifest } from '../inference/bundle.js';
import { answerFiles } from './answer-files.js';
import { captionLibrary } from './caption-library.js';
import type { OutputFormat } from './answer-writer.js';
import { type Flags, parseCaptionFlags } from './caption-flags.js';
import { UsageError } from './exit-codes.js';
import { collectInputs, readList } from './inputs.js';
import { parseLibraryFlags } from './library-flags.js';
import { candidatesFormatter, captionFormatter } from './formatters.js';

/** `caption FILES…`: returns the exit code. Throws UsageError, Interrupted, and what starting the model throws. */
export async function caption(
  config: Config,
  files: readonly string[],
  flags: Flags,
  format: OutputFormat,
): Promise<number> {
  const { decoding, id, version } = await readManifest(config.modelPath);
  const options = parseCaptionFlags(flags, decoding.maxLength);
  const library = parseLibraryFlags(flags);
  if (options.explain && format !== 'json' && library?.out === undefined) {
    throw new UsageError('--explain needs --json or --out: patches have no room in a line');
  }
  const list = flags['filesFrom'];
  const inputs = await collectInputs(
    typeof list === 'string' ? [...files, ...(await readList(list))] : files,
  );
  if (library !== undefined) {
    return captionLibrary(config, { inputs, captionOptions: options, library, model: { id, version } });
  }
  return answerFiles(config, {
    inputs,
    ask: (captioner, { bytes }, context) => captioner.caption({ kind: 'bytes', bytes }, options, context),
    format,
    formatter: flags['candidates'] === undefined ? captionFormatter : candidatesFormatter,
  });
}
