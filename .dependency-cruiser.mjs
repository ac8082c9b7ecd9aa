// src/ is layers (docs/architecture.md): adapters (http, cli, protocols, jobs) over the captioner, over images and scheduler,
// over the inference process. Imports only point that way, and each layer sees as little of the next as it needs.
const adapters = 'http|cli|protocols|jobs';
/** Files that every layer may import; among themselves they import no layer. */
const foundations = 'errors|promises|child-process|memory-tuning|resident-memory|version';

/** Forbids a folder every file of src/ but its own, the foundations, and what else is named. */
function mayImportOnly(folder, { also = [], comment }) {
  const allowed = [`${folder}/`, `(${foundations})\\.ts$`, ...also];
  return {
    name: `${folder}-imports-only-what-it-may`,
    comment,
    severity: 'error',
    from: { path: `^src/${folder}/` },
    to: { path: `^src/(?!${allowed.join('|')})` },
  };
}

/** Of these files, only types may be imported, but for some that hold nothing else than facts. */
function typesOnly(name, comment, { from, to, pathNot }) {
  return {
    name,
    comment,
    severity: 'error',
    from,
    to: { path: to, ...(pathNot !== undefined && { pathNot }), dependencyTypesNot: ['type-only'] },
  };
}

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    {
      name: 'adapters-do-not-import-each-other',
      severity: 'error',
      from: { path: `^src/(${adapters})/` },
      to: {
        path: `^src/(?:${adapters})/`,
        pathNot: '^src/$1/|^src/http/(protocol|admission-hook|request/|schemas/)',
      },
    },
    mayImportOnly('http', {
      comment:
        'HTTP translates requests and answers: it sees the captioner, and of the scheduler and images types and facts.',
      also: [
        'captioner/',
        'scheduler/(scheduler|model|permit)\\.ts$',
        'images/format\\.ts$',
        '(config|setting)\\.ts$',
      ],
    }),
    mayImportOnly('protocols', {
      comment:
        'A protocol translates to the captioner. It sees the shared parts of the http layer: admission, errors, forms.',
      also: [
        'captioner/',
        'http/(protocol|admission-hook|request/.*)\\.ts$',
        'scheduler/(scheduler|model|permit)\\.ts$',
        'config\\.ts$',
      ],
    }),
    mayImportOnly('jobs', {
      comment:
        'Jobs give images to the captioner, and have calls of their own. What they need of images and scheduler is passed in.',
      also: [
        'captioner/',
        'library/',
        'http/schemas/',
        'scheduler/scheduler\\.ts$',
        'images/post-json\\.ts$',
      ],
    }),
    {
      name: 'protocols-do-not-import-each-other',
      comment: 'What several need is a file of src/protocols/ itself.',
      severity: 'error',
      from: { path: '^src/protocols/([^/]+)/' },
      to: { path: '^src/protocols/[^/]+/', pathNot: '^src/protocols/$1/' },
    },
    mayImportOnly('cli', {
      comment:
        'The command line sees the captioner, what starts it, and the bundles and errors that it tells about.',
      also: [
        'captioner/',
        'library/',
        'inference/(bundle|manifest|providers)\\.ts$',
        'scheduler/worker-process\\.ts$',
        '(config|diagnosis|logger|serve|serve-mcp|start-captioner)\\.ts$',
      ],
    }),
    mayImportOnly('library', {
      comment: 'Folders and buckets, for the command line and for jobs: it knows no model and no adapter.',
    }),
    mayImportOnly('captioner', {
      comment: 'The core knows neither HTTP nor the command line, nor how images are decoded and run.',
      also: ['images/', 'scheduler/(model|permit|result-cache)\\.ts$', 'inference/messages\\.ts$'],
    }),
    {
      name: 'captioner-knows-no-frameworks',
      comment: 'No Fastify, no tensors, no image library: of packages only the one of schemas.',
      severity: 'error',
      from: { path: '^src/captioner/' },
      to: { path: 'node_modules/(?!typebox/)' },
    },
    mayImportOnly('images', {
      comment: 'Images are decoded for whoever asks: images/ does not know the scheduler.',
    }),
    mayImportOnly('scheduler', {
      comment:
        'Inference is scheduled whatever was asked: scheduler/ does not know images/. It reads bundles, chooses a provider, and sends messages.',
      also: ['inference/(messages|bundle|manifest|providers)\\.ts$'],
    }),
    {
      name: 'inference-stands-alone',
      comment:
        'The inference process knows nobody outside, neither errors nor settings; the options of a caption are a type.',
      severity: 'error',
      from: { path: '^src/inference/' },
      to: { path: '^src/(?!inference/)', pathNot: '^src/captioner/options\\.ts$' },
    },
    typesOnly('inference-has-only-the-type-of-the-options', undefined, {
      from: { path: '^src/inference/' },
      to: '^src/captioner/',
    }),
    typesOnly(
      'images-are-read-through-what-starts-them',
      'Decoding and fetching are passed in. The list of formats is a fact.',
      {
        from: { path: '^src/', pathNot: '^src/(images/|start-(captioner|jobs)\\.ts$)' },
        to: '^src/images/',
        pathNot: '^src/images/format\\.ts$',
      },
    ),
    typesOnly(
      'the-scheduler-is-passed-in',
      'Only start-captioner.ts makes one, and diagnosis.ts tries its parts; the command line knows the errors of worker processes.',
      {
        from: { path: '^src/', pathNot: '^src/(scheduler/|(start-captioner|diagnosis)\\.ts$)' },
        to: '^src/scheduler/',
        pathNot: '^src/scheduler/worker-process\\.ts$',
      },
    ),
    typesOnly(
      'inference-runs-in-processes-of-its-own',
      'Its code is never run where images are captioned for clients.',
      {
        from: { path: '^src/captioner/' },
        to: '^src/inference/',
      },
    ),
    typesOnly('the-captioner-is-passed-in', 'Only start-captioner.ts makes one.', {
      from: { path: '^src/', pathNot: '^src/start-captioner\\.ts$' },
      to: '^src/captioner/captioner\\.ts$',
    }),
    {
      name: 'only-serve-starts-http',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(http/|protocols/|jobs/(routes|schemas)\\.ts$|serve\\.ts$)' },
      to: { path: '^src/http/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'foundations-import-nothing-above',
      severity: 'error',
      from: { path: `^src/(${foundations}|config|setting)\\.ts$` },
      to: { path: '^src/', pathNot: `^src/(${foundations}|setting)\\.ts$` },
    },
    {
      name: 'playground-is-browser-code',
      comment:
        'It is served as files: of the service it may have types, and nothing of the service imports it.',
      severity: 'error',
      from: { path: '^src/playground/' },
      to: { path: '^src/(?!playground/)|node_modules/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'playground-is-not-imported',
      severity: 'error',
      from: { path: '^src/(?!playground/)' },
      to: { path: '^src/playground/' },
    },
    {
      name: 'packages-that-few-need-are-loaded-when-needed',
      comment: 'Loading them takes longer than the rest of the serving process.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/tracing\\.ts$' },
      to: {
        path: '^src/tracing\\.ts$|node_modules/(@opentelemetry|@fastify/otel|pino-pretty)/',
        dependencyTypesNot: ['type-only', 'dynamic-import'],
      },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'service-knows-no-tests',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|bench)/' },
    },
    {
      name: 'declared-packages-only',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-no-pkg', 'unknown', 'undetermined'] },
    },
    {
      name: 'service-runs-without-development-packages',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev'] },
    },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default'],
    },
  },
};
