// src/ reads in the order an image travels, http → images → engine → runtime, and imports only point that way.
const order = ['http', 'images', 'engine', 'runtime'];

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...order.slice(1).map((folder, index) => ({
      name: `${folder}-imports-only-onwards`,
      severity: 'error',
      from: { path: `^src/${folder}/` },
      to: {
        path: `^src/(main|app|serve|cli)\\.ts$|^src/(${['cli', ...order.slice(0, index + 1)].join('|')})/`,
      },
    })),
    {
      name: 'http-knows-no-tensors',
      comment: 'Of runtime/ the HTTP side sees the types of messages and bundles at most, never code.',
      severity: 'error',
      from: { path: '^src/(http|images)/' },
      to: { path: '^src/runtime/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'runtime-stands-alone',
      comment: 'The inference process knows no HTTP: neither its errors nor its settings.',
      severity: 'error',
      from: { path: '^src/runtime/' },
      to: { path: '^src/(?!runtime/)' },
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
