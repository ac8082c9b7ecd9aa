import { Command, Option } from 'commander';
import { type Config, ConfigError, type Environment, readConfig, settingsHelp } from '../config.js';
import { BundleError } from '../inference/manifest.js';
import { packageVersion } from '../version.js';
import type { OutputFormat } from './answer-writer.js';
import { captionFlags, type Flags } from './caption-flags.js';
import { exitCodesHelp, UsageError } from './exit-codes.js';
import { libraryFlags } from './library-flags.js';

const settingsNote = `
The model and its limits are settings, environment variables like those of the service: MODEL_PATH, PROVIDER, THREADS,
MAX_PIXELS and others (pcm-caption serve --help).
`;
const workerNote = `
Settings are those of the service (pcm-caption serve --help). JOBS_ROOT and JOBS_BUCKETS are the same for the service and
all workers; S3 takes the settings of AWS's programs, such as AWS_REGION and AWS_ENDPOINT_URL_S3.
`;
const fileNote = `
FILES are image files, folders (with all below them), patterns such as 'photos/**/*.jpg', prefixes such as
s3://bucket/2024/, or - for an image on standard input. Answers come in their order. A bad image is named on standard
error, and the others go on.
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
    .version(packageVersion(), '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'Show the help of a command.')
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
      forgetSecrets();
      await namingModelPath(config, (checked) => serve(checked));
    });

  program
    .command('worker')
    .description('Work on jobs from QUEUE_URL until SIGTERM or Ctrl-C; of HTTP there are health and metrics.')
    .addHelpText('after', workerNote)
    .action(async () => {
      const config = readConfig(environment);
      if (config.queueUrl === '')
        throw new ConfigError('QUEUE_URL must be set: a worker takes its jobs from there');
      const { serve } = await import('../serve.js');
      forgetSecrets();
      await namingModelPath({ ...config, jobsWorker: true }, (checked) => serve(checked, true));
    });

  program
    .command('mcp')
    .description('Serve tools to an agent over standard input and output (Model Context Protocol).')
    .addHelpText('after', settingsNote)
    .action(async () => {
      const { serveMcp } = await import('../serve-mcp.js');
      await namingModelPath(localConfig(), serveMcp);
    });

  const captionCommand = withFormats(
    program
      .command('caption')
      .description('Write a caption for each image, without a server.')
      .argument('[files...]', 'images, folders, patterns or s3:// prefixes; - is standard input'),
  )
    .addHelpText('after', `${fileNote}${settingsNote}`)
    .action(async (files: string[], flags: Flags) => {
      if (files.length === 0 && flags['filesFrom'] === undefined) {
        throw new UsageError("missing required argument 'files'");
      }
      const { caption } = await import('./caption.js');
      onExitCode(
        await namingModelPath(localConfig(), (config) => caption(config, files, flags, formatOf(flags))),
      );
    });
  for (const option of [...libraryFlags(), ...captionFlags()]) captionCommand.addOption(option);

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
      onExitCode(
        await namingModelPath(localConfig(), (config) => score(config, file, texts, formatOf(flags))),
      );
    });

  program
    .command('index')
    .description('Index the images of a folder, to search them.')
    .argument('<folder>', 'a folder, or an s3:// prefix with --index')
    .option('--index <file>', 'where the index is (default: .pcm-caption-index.db in the folder)')
    .option('--no-captions', 'neither caption nor tag the images: faster, and a search finds the same')
    .addHelpText('after', settingsNote)
    .action(async (folder: string, flags: Flags) => {
      const { indexFolder } = await import('./index-folder.js');
      const captions = flags['captions'] === true;
      onExitCode(await indexFolder(localConfig(), folder, { index: textOf(flags, 'index'), captions }));
    });
  program
    .command('search')
    .description('Search a folder that was indexed: similarity, name and caption of the best images.')
    .argument('<folder>', 'the folder that was indexed')
    .argument('[text]', 'what to look for, in English')
    .option('--like <image>', 'look for images like this one')
    .option('--limit <number>', 'images at most', '10')
    .option('--tag <word>', 'only images with this tag')
    .option('--index <file>', 'where the index is (default: .pcm-caption-index.db in the folder)')
    .option('--json', 'a JSON object on a line for each image')
    .addHelpText('after', settingsNote)
    .action(async (folder: string, text: string | undefined, flags: Flags) => {
      const { search } = await import('./search.js');
      onExitCode(
        await search(localConfig(), folder, {
          text,
          like: textOf(flags, 'like'),
          limit: String(flags['limit']),
          tag: textOf(flags, 'tag'),
          index: textOf(flags, 'index'),
          json: flags['json'] === true,
        }),
      );
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
  program
    .command('doctor')
    .description('Tell whether the service would run here, with these settings, and why it would not.')
    .option('--json', 'as one JSON object')
    .addHelpText('after', settingsNote)
    .action(async (flags: Flags) => {
      const { doctor } = await import('./doctor.js');
      onExitCode(await doctor(environment, flags['json'] === true));
    });
  return program;
}

/** Says of a bundle that is not right by which setting it was found. */
async function namingModelPath<T>(config: Config, work: (config: Config) => Promise<T>): Promise<T> {
  try {
    return await work(config);
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    const setting = `MODEL_PATH=${config.modelPath}`;
    throw new ConfigError(
      error.folder === undefined
        ? `${error.message} (${setting})`
        : `${setting} is not the folder of a model bundle: ${error.message}`,
      { cause: error },
    );
  }
}

/** Inference processes get this environment, and keys are none of their business. */
function forgetSecrets(): void {
  delete process.env['API_KEYS'];
  delete process.env['QUEUE_URL'];
  delete process.env['WEBHOOK_SECRET'];
}

function withFormats(command: Command): Command {
  return command
    .addOption(
      new Option('--json', 'a JSON object on a line for each image: {"file", "result"} or {"file", "error"}'),
    )
    .addOption(new Option('--csv', 'CSV (RFC 4180) with a heading').conflicts('json'));
}

function textOf(flags: Flags, name: string): string | undefined {
  const value = flags[name];
  return typeof value === 'string' ? value : undefined;
}

function formatOf(flags: Flags): OutputFormat {
  if (flags['json'] === true) return 'json';
  return flags['csv'] === true ? 'csv' : 'text';
}
