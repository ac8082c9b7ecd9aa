import type { Config } from '../config.js';
import { ScoreOptionsSchema } from '../http/schemas/score.js';
import { scoreImage } from '../http/scores/score-image.js';
import { createOptionReader } from '../http/submission/read-options.js';
import { ServiceError } from '../problem.js';
import { answerFiles } from './answer-files.js';
import type { OutputFormat } from './answer-writer.js';
import { UsageError } from './exit-codes.js';
import { collectInputs } from './inputs.js';
import { scoreLayout } from './layouts.js';

const readScoreOptions = createOptionReader(ScoreOptionsSchema);

/** `score FILE TEXT…`: returns the exit code. Throws UsageError, Interrupted, and what starting the model throws. */
export async function score(
  config: Config,
  file: string,
  texts: readonly string[],
  format: OutputFormat,
): Promise<number> {
  const asked = readTexts(texts);
  return answerFiles(config, {
    inputs: await collectInputs([file]),
    ask: (way, source, admitted) => scoreImage(way, source, asked, admitted),
    format,
    layout: scoreLayout,
  });
}

function readTexts(texts: readonly string[]): readonly string[] {
  try {
    return readScoreOptions({ texts: texts.map((text) => ['texts', text]), members: {} }).texts;
  } catch (error) {
    throw error instanceof ServiceError ? new UsageError(error.detail) : error;
  }
}
