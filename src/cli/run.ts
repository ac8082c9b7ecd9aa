import { type Command, CommanderError } from 'commander';
import { ConfigError } from '../config.js';
import { WorkerDied, WorkerRefused } from '../scheduler/worker-process.js';
import { ServiceError } from '../errors.js';
import { BundleError } from '../inference/manifest.js';
import { ProviderError } from '../inference/providers.js';
import { exitCodes, Interrupted, UsageError } from './exit-codes.js';
import { createProgram } from './program.js';

/** Errors whose message says all that the user needs. */
const explained = [ConfigError, BundleError, ProviderError, WorkerRefused, WorkerDied, ServiceError];

/** Runs the command line to its end, and sets the exit code of the process. */
export async function run(args: readonly string[]): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // Who reads has had enough, as `head` has. Processes of the model leave when this one has gone.
      if (error.code === 'EPIPE') process.exit(exitCodes.outputClosed);
      throw error;
    });
  }
  const program = createProgram(process.env, (code) => {
    process.exitCode = code;
  });
  throwing(program);
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    const code = exitCodeOf(error);
    // A stopped command may still hold standard input, or wait for a file.
    if (error instanceof Interrupted) process.exit(code);
    process.exitCode = code;
  }
}

/** Usage errors are thrown, and told in the words of this program. */
function throwing(command: Command): void {
  command.exitOverride().configureOutput({
    outputError: (text, write) => {
      write(text.replace(/^error: /, 'pcm-caption: '));
    },
  });
  for (const each of command.commands) throwing(each);
}

/** Says what went wrong, where nobody has. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  if (error instanceof Interrupted) return error.exitCode;
  if (error instanceof UsageError) {
    say(`${error.message}\nAdd --help to see what there is.`);
    return exitCodes.usage;
  }
  const isExplained = error instanceof Error && explained.some((kind) => error instanceof kind);
  if (error instanceof BundleError && error.folder !== undefined) say(`${error.message} in ${error.folder}`);
  else if (isExplained) error.message.split('\n').forEach(say);
  else say(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return exitCodes.failed;
}

function say(text: string): void {
  process.stderr.write(`pcm-caption: ${text}\n`);
}
