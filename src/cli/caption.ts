import type { Config } from '../config.js';
import { captionImage } from '../http/captions/caption-image.js';
import { readManifest } from '../runtime/bundle.js';
import { answerFiles } from './answer-files.js';
import type { OutputFormat } from './answer-writer.js';
import { type Flags, readCaptionFlags } from './caption-flags.js';
import { UsageError } from './exit-codes.js';
import { collectInputs } from './inputs.js';
import { captionLayout } from './layouts.js';

/** `caption FILES…`: returns the exit code. Throws UsageError, Interrupted, and what starting the model throws. */
export async function caption(
  config: Config,
  files: readonly string[],
  flags: Flags,
  format: OutputFormat,
): Promise<number> {
  const { decoding } = await readManifest(config.modelPath);
  const asked = readCaptionFlags(flags, decoding.maxLength);
  if (asked.options.explain && format !== 'json') {
    throw new UsageError('--explain needs --json: patches have no room in a line');
  }
  return answerFiles(config, {
    inputs: await collectInputs(files),
    ask: (way, source, admitted) => captionImage(way, source, asked, admitted),
    format,
    layout: captionLayout,
  });
}
