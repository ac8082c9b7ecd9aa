import { Command, Option } from 'commander';
import { type Environment, readConfig, settingsHelp } from '../config.js';
import { packageVersion } from '../version.js';
import type { OutputFormat } from './answer-writer.js';
import { captionFlags, type Flags } from './caption-flags.js';
import { exitCodesHelp } from './exit-codes.js';

const settingsNote = `
The model and its limits are settings, environment variables like those of the service: MODEL_PATH, PROVIDER, THREADS,
MAX_PIXELS and others (pcm-caption serve --help).
`;
const fileNote = `
FILES are image files, folders (with all below them), patterns such as 'photos/**/*.jpg', or - for an image on standard
input. Answers come in their order. A bad image is named on standard error, and the others go on.
<words> are separated by commas; the option may be given several times.
`;

/**
 * The command line; parsing it runs a command. Commands load what they need when they run, so that --help and
 * `models` need neither the HTTP side nor the image decoder.
 * @param onExitCode gets the exit code of a command that has run
 */
export function createProgram(environment: Environment, onExitCode: (code: number) => void): Command {
  const program = new Command('pcm-caption')
    .description('Captions for images: over HTTP, or of files.')
    .version(packageVersion(), '--version', 'show the version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
    .showHelpAfterError('Add --help to see what there is.')
    .addHelpText('after', exitCodesHelp);
  // Log lines are for those who run a service; here only what goes wrong is worth one.
  const level = environment['LOG_LEVEL'];
  const localConfig = () =>
    readConfig({ ...environment, LOG_LEVEL: level === undefined || level === '' ? 'error' : level });

  program
    .command('serve')
    .description('Serve the HTTP API until SIGTERM or Ctrl-C.')
    .addHelpText(
      'after',
      () => `\nSettings are environment variables, [in brackets] what holds without them:\n${settingsHelp()}`,
    )
    .action(async () => {
      const { serve } = await import('../serve.js');
      const config = readConfig(environment);
      // Inference processes get this environment, and keys are none of their business.
      delete process.env['API_KEYS'];
      await serve(config);
    });

  const captionCommand = withFormats(
    program
      .command('caption')
      .description('Write a caption for each image, without a server.')
      .argument('<files...>', 'images, folders or patterns; - is standard input'),
  )
    .addHelpText('after', `${fileNote}${settingsNote}`)
    .action(async (files: string[], flags: Flags) => {
      const { caption } = await import('./caption.js');
      onExitCode(await caption(localConfig(), files, flags, formatOf(flags)));
    });
  for (const option of captionFlags()) captionCommand.addOption(option);

  withFormats(
    program
      .command('score')
      .description(
        'Tell how well texts fit an image: cosine, CLIPScore, and the probability that they belong together.',
      )
      .argument('<file>', 'an image; - is standard input')
      .argument('<texts...>', 'texts in English'),
  )
    .addHelpText('after', settingsNote)
    .action(async (file: string, texts: string[], flags: Flags) => {
      const { score } = await import('./score.js');
      onExitCode(await score(localConfig(), file, texts, formatOf(flags)));
    });

  const models = program.command('models').description('Tell about model bundles.').helpCommand(false);
  models
    .command('show', { isDefault: true })
    .description('Show what a bundle says of itself: licence, data, sizes, measured quality.')
    .argument('[path]', 'folder of the bundle (default: MODEL_PATH, or the embedded one)')
    .option('--json', 'all of bundle.json, on one line')
    .action(async (path: string | undefined, flags: Flags) => {
      const { showModel } = await import('./models.js');
      onExitCode(await showModel(path ?? localConfig().modelPath, flags['json'] === true));
    });
  models
    .command('verify')
    .description('Read every file of a bundle, and compare it with its size and SHA-256 in bundle.json.')
    .argument('[path]', 'folder of the bundle (default: MODEL_PATH, or the embedded one)')
    .option('--json', 'as one JSON object')
    .action(async (path: string | undefined, flags: Flags) => {
      const { verifyModel } = await import('./models.js');
      onExitCode(await verifyModel(path ?? localConfig().modelPath, flags['json'] === true));
    });
  return program;
}

function withFormats(command: Command): Command {
  return command
    .addOption(
      new Option('--json', 'a JSON object on a line for each image: {"file", "result"} or {"file", "error"}'),
    )
    .addOption(new Option('--csv', 'CSV (RFC 4180) with a heading').conflicts('json'));
}

function formatOf(flags: Flags): OutputFormat {
  if (flags['json'] === true) return 'json';
  return flags['csv'] === true ? 'csv' : 'text';
}
