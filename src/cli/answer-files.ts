import type { Config } from '../config.js';
import { type AnswerWriter, createAnswerWriter, type OutputFormat, printable } from './answer-writer.js';
import { createConsole } from './console.js';
import { exitCodes, Interrupted, UsageError } from './exit-codes.js';
import type { Inputs } from './inputs.js';
import type { Formatter } from './formatters.js';
import { type Answer, type Ask, withLocalModel } from './local-model.js';

export interface AnswerFilesOptions<T> {
  readonly inputs: Inputs;
  readonly ask: Ask<T>;
  readonly format: OutputFormat;
  readonly formatter: Formatter<T>;
}

/**
 * Asks the model about every input and writes the answers as they come, in the inputs' order; what fails is said on
 * standard error, and the others go on.
 * @returns the exit code
 * @throws UsageError, Interrupted, and what starting the model throws
 */
export async function answerFiles<T>(
  config: Config,
  { inputs: { inputs, passedOver }, ask, format, formatter }: AnswerFilesOptions<T>,
): Promise<number> {
  if (process.stdin.isTTY && inputs.some(({ name }) => name === '-')) {
    throw new UsageError('- reads an image from standard input, which is a terminal here');
  }
  const output = createConsole();
  if (passedOver > 0) output.say(`passed over in folders, as no images by their names: ${passedOver}`);
  const writer: AnswerWriter<T> = createAnswerWriter(format, formatter, {
    isTerminal: process.stdout.isTTY,
    nameWidth: Math.max(0, ...inputs.map(({ name }) => name.length)),
  });
  let done = 0;
  let failed = 0;
  // When there is nothing to read, the model need not be loaded to say so.
  const invalidInputs = inputs.flatMap(({ name, problem }) =>
    problem === undefined ? [] : [{ file: name, error: problem }],
  );

  async function writeAll(answers: Iterable<Answer<T>> | AsyncIterable<Answer<T>>): Promise<void> {
    await output.write(writer.heading);
    for await (const answer of answers) {
      await output.write(writer.write(answer));
      if ('error' in answer) {
        failed += 1;
        output.say(`${printable(answer.file)}: ${answer.error.code}: ${answer.error.detail}`);
      }
      done += 1;
      output.advanceBar('error' in answer);
    }
  }

  try {
    if (invalidInputs.length === inputs.length) await writeAll(invalidInputs);
    else {
      if (inputs.length > 1) output.startBar(inputs.length);
      await withLocalModel(config, inputs.length, (model, signal) =>
        writeAll(model.answerAll(inputs, ask, signal)),
      );
    }
  } catch (error) {
    if (error instanceof Interrupted) output.say(`stopped after ${done} of ${inputs.length} images`);
    throw error;
  } finally {
    output.stopBar();
  }
  if (failed > 0 && inputs.length > 1) output.say(`${failed} of ${inputs.length} images have no answer`);
  return failed === 0 ? exitCodes.ok : exitCodes.someFailed;
}
