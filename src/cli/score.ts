import type { Config } from '../config.js';
import { parseScoreOptions } from '../captioner/options.js';
import { ServiceError } from '../errors.js';
import { answerFiles } from './answer-files.js';
import type { OutputFormat } from './answer-writer.js';
import { UsageError } from './exit-codes.js';
import { collectInputs } from './inputs.js';
import { scoreFormatter } from './formatters.js';

/** `score FILE TEXT…`: returns the exit code. Throws UsageError, Interrupted, and what starting the model throws. */
export async function score(
  config: Config,
  file: string,
  texts: readonly string[],
  format: OutputFormat,
): Promise<number> {
  const checked = parseTexts(texts);
  return answerFiles(config, {
    inputs: await collectInputs([file]),
    ask: (captioner, { bytes }, context) => captioner.score({ kind: 'bytes', bytes }, checked, context),
    format,
    formatter: scoreFormatter,
  });
}

function parseTexts(texts: readonly string[]): readonly string[] {
  try {
    return parseScoreOptions({ texts: texts.map((text) => ['texts', text]), members: {} }).texts;
  } catch (error) {
    throw error instanceof ServiceError ? new UsageError(error.detail) : error;
  }
}
