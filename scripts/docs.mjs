// Writes the parts of docs/ that come from the code and from the embedded bundle: error codes, settings, metrics, the
// command line's help, and the figures of the confidence. With --check it only compares, and fails when they differ.
import { readFileSync, writeFileSync } from 'node:fs';
import Fastify from 'fastify';
import { Registry } from 'prom-client';
import { createProgram } from '../dist/src/cli/program.js';
import { settingsFacts } from '../dist/src/config.js';
import { createEngineMetrics } from '../dist/src/scheduler/metrics.js';
import { ResultCache } from '../dist/src/scheduler/result-cache.js';
import { metricsPlugin } from '../dist/src/http/plugins/metrics.js';
import { createUploads } from '../dist/src/http/uploads.js';
import { createJobMetrics } from '../dist/src/jobs/metrics.js';
import { createMemoryMetric } from '../dist/src/resident-memory.js';
import { statusOf } from '../dist/src/http/problem-details.js';
import { errorCodes } from '../dist/src/errors.js';

const generated = 'Generated from the code by `npm run docs`: do not edit.';

const bundle = JSON.parse(readFileSync(new URL('../models/default/bundle.json', import.meta.url), 'utf8'));

const files = {
  'errors.md': () => `# Error codes

${generated}

Every error is answered with a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) whose members are
\`type\`, \`title\`, \`status\`, \`detail\`, \`code\` and \`requestId\`. Branch on \`code\`: it is stable. \`detail\` is for people
and may change. \`requestId\` is the \`x-request-id\` of the answer, and finds the request in the log. At 429 and 503
\`Retry-After\` says how many seconds to wait. In a batch, an image that fails has its problem in its own entry. The
command line uses the same codes.

Errors that occur before there is a request have no document: input that is not HTTP is answered with a bare 400, header
fields that do not arrive in time with a bare 408, and an \`Expect\` other than \`100-continue\` with a bare 417.

${table(
  ['code', 'status', 'meaning', 'what to do'],
  Object.entries(errorCodes).map(([code, { title, remedy }]) => [
    `\`${code}\``,
    statusOf[code],
    title,
    remedy,
  ]),
)}
`,
  'settings.md': () => `# Settings

${generated}

Settings are environment variables. An empty variable counts as unset. An invalid one stops the start, with a line that
says which values it accepts.

${table(
  ['variable', 'meaning', 'values', 'default'],
  settingsFacts().map(({ name, help, takes, state }) => [`\`${name}\``, help, takes, state]),
)}
`,
  'observability.md': (text) =>
    text.replace(
      /(<!-- metrics -->\n)[\s\S]*?(<!-- end -->)/,
      (_, begin, end) => `${begin}${table(['metric', 'type', 'labels', 'meaning'], metricRows())}\n${end}`,
    ),
  'cli.md': (text) =>
    text.replace(
      /(<!-- help of (.*?) -->\n)[\s\S]*?(<!-- end -->)/g,
      (_, begin, command, end) =>
        `${begin}\`\`\`text\n${helpOf(command.split(' ').slice(1))}\n\`\`\`\n${end}`,
    ),
  'confidence.md': (text) =>
    Object.entries(confidenceFigures(bundle)).reduce(
      (whole, [name, figures]) =>
        whole.replace(
          new RegExp(`(<!-- ${name} -->\\n)[\\s\\S]*?(<!-- end -->)`),
          (_, begin, end) => `${begin}${figures}\n${end}`,
        ),
      text,
    ),
};

const metrics = await allMetrics();

/** What the bundle's exporter measured on its validation photos, by the name of the marker in the page. */
function confidenceFigures({ id, version, quality, calibration }) {
  const { threshold, share, groups, minConfidence } = quality.confidence;
  const percent = (value) => (value === null ? '–' : `${Math.round(value * 100)} %`);
  const twoDigits = (key) => groups.map((group) => group[key].toFixed(2));
  const kinds = Object.entries(quality.nonPhotoConfidence).sort(([, a], [, b]) => a - b);
  const { confidence, matchProbability } = calibration;
  return {
    model: `The figures on this page are those of \`${id}\` ${version}; each bundle has its own, in its model card and in
\`GET /v1/models\`.`,
    label: `That score is ${threshold.toFixed(3)} for this bundle, and ${(share * 100).toFixed(1)} % of its captions reach it.`,
    groups: table(
      ['confidence, mean of the group', ...twoDigits('confidence')],
      [['share that was good', ...twoDigits('good')]],
    ),
    errors: `The expected calibration error is ${confidence.error.ece.toFixed(3)}. The area under the ROC curve, which says how well the confidence
separates good captions from others, is ${confidence.error.auroc.toFixed(3)} (95 % interval ${confidence.error.aurocLow.toFixed(3)} to ${confidence.error.aurocHigh.toFixed(3)}).`,
    nonPhotos: `The mean confidence of images that are not photos:
${kinds.map(([kind, mean]) => `${kind} ${mean.toFixed(2)}`).join(', ')}.`,
    minConfidence: table(
      ['`minConfidence`', 'photos with a caption', 'of these, good', 'of all good captions, kept'],
      minConfidence.map(({ least, captioned, good, kept }) => [
        least,
        ...[captioned, good, kept].map(percent),
      ]),
    ),
    match: `It separates photos by their subject: AUROC ${matchProbability.error.auroc.toFixed(3)} against the caption of a random other photo, expected
calibration error ${matchProbability.error.ece.toFixed(3)}.`,
  };
}

/** Every metric of a service with a cache, the service's own first. */
async function allMetrics() {
  const registry = new Registry();
  const none = () => 0;
  const gauges = { waiting: none, slotsUsed: none, workersReady: none, model: () => undefined };
  createEngineMetrics(registry, gauges);
  new ResultCache({ maxSize: 1, sizeOf: () => 1, onLeave: () => undefined, registry });
  createUploads({ graceMs: 0, maxBytes: 1, registry });
  createMemoryMetric(registry, { serving: () => [], decode: () => [], inference: () => [] });
  const counts = { getJobCounts: () => Promise.resolve({}) };
  createJobMetrics(registry, { jobs: counts, shards: counts, hooks: counts });
  const app = Fastify();
  await app.register(metricsPlugin, { registry });
  await app.close();
  return Promise.all(
    registry
      .getMetricsAsArray()
      .map(async (metric) => ({ ...(await metric.get()), labels: metric.labelNames })),
  );
}

function metricRows() {
  return metrics.map(({ name, type, labels, help }) => [
    `\`${name}\``,
    type,
    labels.map((label) => `\`${label}\``).join(', '),
    help.replace(/\.$/, ''),
  ]);
}

function table(heading, rows) {
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(heading), line(heading.map(() => '---')), ...rows.map(line)].join('\n');
}

/** What `pcm-caption … --help` prints, 100 characters wide. */
function helpOf(names) {
  let text = '';
  const program = createProgram({}, () => undefined);
  const printing = (command) => {
    command
      .exitOverride()
      .configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 100 });
    command.commands.forEach(printing);
  };
  printing(program);
  try {
    program.parse([...names, '--help'], { from: 'user' });
  } catch (error) {
    if (error.code !== 'commander.helpDisplayed') throw error;
  }
  return text.trim();
}

for (const [name, write] of Object.entries(files)) {
  const file = new URL(`../docs/${name}`, import.meta.url);
  const before = readBefore(file);
  const after = write(before);
  if (after === before) continue;
  if (!process.argv.includes('--check')) writeFileSync(file, after);
  else {
    process.stderr.write(`docs/${name} differs from the code: run npm run docs and commit it\n`);
    process.exitCode = 1;
  }
}

function readBefore(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return '';
    throw error;
  }
}
