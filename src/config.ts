import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import {
  acceptedBy,
  type ApiKeyHash,
  apiKeyHashes,
  automaticOr,
  boolean,
  integer,
  InvalidValue,
  list,
  matching,
  networks,
  nonEmpty,
  oneOf,
  type Setting,
  setting,
  share,
  trustedProxies,
} from './setting.js';

/** Where the repository or the installed package lies; compiled files are two folders below it. */
const packageRoot = fileURLToPath(new URL('../../', import.meta.url));

/** The start is refused; each line of the message names a setting, the value it has, and what it takes. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const noKeys: readonly ApiKeyHash[] = [];

const noText: readonly string[] = [];
const allProtocols: readonly string[] = ['all'];
const MiB = 1024 * 1024;
const hostNames = /^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$/;
const queueUrls = /^(rediss?|postgres(ql)?):\/\/\S+$/;

/** Every setting of the service; --help and the documentation are made from this table. */
const settings = {
  host: setting({
    name: 'HOST',
    parse: nonEmpty('an address to listen on'),
    default: '127.0.0.1',
    help: 'address to listen on; 0.0.0.0 for all',
  }),
  port: setting({
    name: 'PORT',
    parse: integer(0, 65535),
    default: 8080,
    help: 'port to listen on; 0 takes a free one',
  }),
  modelPath: setting({
    name: 'MODEL_PATH',
    parse: nonEmpty('a folder'),
    default: `${packageRoot}models/default`,
    defaultText: 'the embedded bundle',
    help: 'folder of the model bundle to serve',
  }),
  provider: setting({
    name: 'PROVIDER',
    parse: oneOf('auto', 'cpu', 'cuda', 'tensorrt', 'webgpu', 'coreml', 'dml'),
    default: 'auto',
    help: 'execution provider: cpu, cuda, tensorrt, webgpu, coreml, dml, or auto: a GPU where it beats the CPU',
  }),
  devices: setting({
    name: 'DEVICES',
    parse: list('device numbers such as 0,1', /^\d{1,3}$/),
    default: noText,
    defaultText: 'the first',
    help: 'device numbers of cuda, tensorrt or dml, separated by commas; one process each',
  }),
  precision: setting({
    name: 'PRECISION',
    parse: oneOf('auto', 'int8', 'w8', 'fp16', 'fp32'),
    default: 'auto',
    help: 'number format of the graphs: auto (on CPUs int8 where the bundle has it, else w8), int8, w8, fp16 or fp32',
  }),
  workers: setting({
    name: 'WORKERS',
    parse: automaticOr(1, 64),
    default: 'auto',
    help: 'inference processes on CPUs',
  }),
  threads: setting({
    name: 'THREADS',
    parse: automaticOr(1, 256),
    default: 'auto',
    help: 'inference threads of all workers together',
  }),
  maxBatchSize: setting({
    name: 'MAX_BATCH_SIZE',
    parse: integer(1, 256),
    default: 8,
    help: 'most images in one run of the model',
  }),
  batchDelayMs: setting({
    name: 'BATCH_DELAY_MS',
    parse: integer(0, 1000),
    default: 0,
    help: 'how long a free worker waits for a fuller batch',
  }),
  maxQueueImages: setting({
    name: 'MAX_QUEUE_IMAGES',
    parse: integer(1, 100_000),
    default: 256,
    help: 'images admitted at once, before answers are 503',
  }),
  requestTimeoutMs: setting({
    name: 'REQUEST_TIMEOUT_MS',
    parse: integer(100, 3_600_000),
    default: 30_000,
    help: 'time a request may take, before its answer is 504',
  }),
  headersTimeoutMs: setting({
    name: 'HEADERS_TIMEOUT_MS',
    parse: integer(100, 60_000),
    default: 10_000,
    help: 'time the header fields of a request may take to arrive',
  }),
  uploadGraceMs: setting({
    name: 'UPLOAD_GRACE_MS',
    parse: integer(0, 3_600_000),
    default: 1000,
    help: 'time a body may take to arrive, before it gives way to others when the queue is full',
  }),
  shutdownGraceMs: setting({
    name: 'SHUTDOWN_GRACE_MS',
    parse: integer(0, 3_600_000),
    default: 35_000,
    help: 'time that requests in flight get at SIGTERM',
  }),
  maxConnections: setting({
    name: 'MAX_CONNECTIONS',
    parse: integer(1, 1_000_000),
    default: connectionsFor(openFilesLimit()),
    defaultText: '16384, at most half of the open files that the process may have',
    help: 'connections that are open at once; more are closed as they come',
  }),
  maxBodyBytes: setting({
    name: 'MAX_BODY_BYTES',
    parse: integer(1024, 1024 * MiB),
    default: 20 * MiB,
    help: 'most bytes of a request body',
  }),
  maxOptionsBytes: setting({
    name: 'MAX_OPTIONS_BYTES',
    parse: integer(1024, 64 * MiB),
    default: 256 * 1024,
    help: 'most bytes of a JSON body or form beside its images',
  }),
  maxUploadBytes: setting({
    name: 'MAX_UPLOAD_BYTES',
    parse: integer(1024, 1024 * 1024 * MiB),
    default: 256 * MiB,
    help: 'most bytes of all request bodies that are held at once, before answers are 503',
  }),
  maxPixels: setting({
    name: 'MAX_PIXELS',
    parse: integer(1, 1_000_000_000),
    default: 50_000_000,
    help: 'most pixels (width × height) of an image',
  }),
  maxSide: setting({
    name: 'MAX_SIDE',
    parse: integer(1, 10_000_000),
    default: 65_535,
    help: 'most pixels of each side of an image',
  }),
  maxBatchImages: setting({
    name: 'MAX_BATCH_IMAGES',
    parse: integer(1, 256),
    default: 16,
    help: 'most images of one batch request',
  }),
  decoders: setting({
    name: 'DECODERS',
    parse: integer(1, 64),
    default: Math.max(1, Math.min(4, availableParallelism())),
    defaultText: 'the cores, at most 4',
    help: 'images decoded at the same time',
  }),
  decodeTimeoutMs: setting({
    name: 'DECODE_TIMEOUT_MS',
    parse: integer(100, 3_600_000),
    default: 5000,
    help: 'time an image may take to decode, before its decode process is ended and its answer is 422',
  }),
  decodeMemoryBytes: setting({
    name: 'DECODE_MEMORY_BYTES',
    parse: integer(64 * MiB, 1024 * 1024 * MiB),
    default: 768 * MiB,
    help: 'memory a decode process may take, before it is ended and the answer is 422; measured on Linux',
  }),
  heic: setting({
    name: 'HEIC',
    parse: boolean,
    default: true,
    help: 'false: HEIC images, as iPhones take them, are refused',
  }),
  cacheSize: setting({
    name: 'CACHE_SIZE',
    parse: integer(0, 10_000_000),
    default: 10_000,
    help: 'results kept in memory for identical requests, 2 kB each; 0: none',
  }),
  allowUrlImages: setting({
    name: 'ALLOW_URL_IMAGES',
    parse: boolean,
    default: false,
    help: 'true: images may be given by URL, of public http(s) servers',
  }),
  urlImageHosts: setting({
    name: 'URL_IMAGE_HOSTS',
    parse: list('host names such as example.org or *.example.org', hostNames),
    default: noText,
    defaultText: 'all public ones',
    help: 'the only hosts that images by URL may come from, *. before a name for all below it',
  }),
  urlImageNetworks: setting({
    name: 'URL_IMAGE_NETWORKS',
    parse: networks,
    default: noText,
    defaultText: 'none',
    help: 'networks that are not public but may be fetched from, such as 10.0.0.0/8',
  }),
  queueUrl: setting({
    name: 'QUEUE_URL',
    parse: matching('a URL such as redis://host:6379 or postgres://user:password@host/database', queueUrls),
    default: '',
    defaultText: 'none: no jobs',
    help: 'queue server of jobs: Redis or Valkey (redis:, rediss:), or PostgreSQL (postgres:)',
  }),
  jobsWorker: setting({
    name: 'JOBS_WORKER',
    parse: boolean,
    default: true,
    help: 'false: the service only takes orders of jobs, and leaves the work to pcm-caption worker',
  }),
  jobsRoot: setting({
    name: 'JOBS_ROOT',
    parse: nonEmpty('a folder'),
    default: '',
    defaultText: 'none',
    help: 'folder whose files jobs may read and write, the same for the service and all workers',
  }),
  jobsBuckets: setting({
    name: 'JOBS_BUCKETS',
    parse: list('buckets such as album or results/captions', /^[a-z0-9][a-z0-9.-]*(\/[^,]*)?$/),
    default: noText,
    defaultText: 'none',
    help: 'buckets of S3, or prefixes in them, that jobs may read and write, separated by commas',
  }),
  jobsShardImages: setting({
    name: 'JOBS_SHARD_IMAGES',
    parse: integer(1, 10_000),
    default: 100,
    help: 'images of a shard, the part of a job that one worker takes at a time',
  }),
  jobsKeepHours: setting({
    name: 'JOBS_KEEP_HOURS',
    parse: integer(1, 8760),
    default: 168,
    help: 'how long a job is remembered after its end; its results stay',
  }),
  webhookSecret: setting({
    name: 'WEBHOOK_SECRET',
    parse: matching('whsec_ and base64, or a text of at least 24 characters', /^.{24,}$/),
    default: '',
    defaultText: 'none: no web hooks',
    help: 'key of the signatures of web hooks (Standard Webhooks)',
  }),
  webhookHosts: setting({
    name: 'WEBHOOK_HOSTS',
    parse: list('host names such as example.org or *.example.org', hostNames),
    default: noText,
    defaultText: 'all public ones',
    help: 'the only hosts that web hooks are sent to, *. before a name for all below it',
  }),
  webhookNetworks: setting({
    name: 'WEBHOOK_NETWORKS',
    parse: networks,
    default: noText,
    defaultText: 'none',
    help: 'networks that are not public but may get web hooks, such as 10.0.0.0/8',
  }),
  apiKeys: setting({
    name: 'API_KEYS',
    parse: apiKeyHashes,
    isSecret: true,
    default: noKeys,
    defaultText: 'none: open',
    help: 'keys that protect /v1/* and the other protocols, or their SHA-256 as sha256:…, separated by commas',
  }),
  keylessPaths: setting({
    name: 'KEYLESS_PATHS',
    parse: list('paths such as /api/chat,/api/tags', /^\/[\w./:*-]*$/),
    default: noText,
    defaultText: 'none',
    help: 'paths that need no key although API_KEYS is set, for clients that cannot send one, separated by commas',
  }),
  protocols: setting({
    name: 'PROTOCOLS',
    parse: list('all, none, or names of protocols such as ollama,openai', /^[a-z0-9-]+$/),
    default: allProtocols,
    help: 'protocols of other products that are served beside /v1, separated by commas; all, or none',
  }),
  modelAliases: setting({
    name: 'MODEL_ALIASES',
    parse: list('names of models such as llava,gpt-4o-mini', /^[\w.:/-]{1,100}$/),
    default: noText,
    defaultText: 'none',
    help: 'names of models that clients of other protocols may ask for, beside that of the bundle',
  }),
  protocolMinConfidence: setting({
    name: 'PROTOCOL_MIN_CONFIDENCE',
    parse: share,
    default: 0,
    help: 'confidence below which clients of other protocols get no caption; /v1 has minConfidence',
  }),
  rateLimit: setting({
    name: 'RATE_LIMIT',
    parse: integer(0, 1_000_000),
    default: 0,
    help: 'requests a minute for each key or address; 0: no limit',
  }),
  trustProxy: setting({
    name: 'TRUST_PROXY',
    parse: trustedProxies,
    default: false,
    help: 'networks of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8; true: all',
  }),
  corsOrigins: setting({
    name: 'CORS_ORIGINS',
    parse: list('origins such as https://example.org, or *', /^(\*|https?:\/\/[^\s/]+)$/),
    default: noText,
    defaultText: 'none',
    help: 'origins whose pages may call the service, separated by commas',
  }),
  logLevel: setting({
    name: 'LOG_LEVEL',
    parse: oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'),
    default: 'info',
    help: 'least level that is logged',
  }),
};

/** The rest of the open files is for what the service starts and reads. */
function connectionsFor(openFiles: number): number {
  return Math.max(1, Math.min(16_384, Math.floor(openFiles / 2)));
}

/** Open files that this process may have; Infinity where the system does not tell. */
function openFilesLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1');
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  } catch {
    return Infinity;
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;
export type Config = ReturnType<typeof readConfig>;

/**
 * Reads all settings from the environment; an unset or empty variable takes its default.
 * @throws ConfigError with a line for each setting that is not valid
 */
export function readConfig(environment: Environment) {
  const problems: string[] = [];
  function read<T>({ name, parse, default: value, isSecret }: Setting<T>): T {
    const text = environment[name];
    if (text === undefined || text === '') return value;
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof InvalidValue)) throw error;
      const given = isSecret ? 'what it is now' : quote(text);
      problems.push(`${name} must be ${error.message}, not ${given}`);
      return value;
    }
  }
  const config = {
    host: read(settings.host),
    port: read(settings.port),
    modelPath: read(settings.modelPath),
    provider: read(settings.provider),
    devices: read(settings.devices),
    precision: read(settings.precision),
    workers: read(settings.workers),
    threads: read(settings.threads),
    maxBatchSize: read(settings.maxBatchSize),
    batchDelayMs: read(settings.batchDelayMs),
    maxQueueImages: read(settings.maxQueueImages),
    requestTimeoutMs: read(settings.requestTimeoutMs),
    headersTimeoutMs: read(settings.headersTimeoutMs),
    uploadGraceMs: read(settings.uploadGraceMs),
    shutdownGraceMs: read(settings.shutdownGraceMs),
    maxConnections: read(settings.maxConnections),
    maxBodyBytes: read(settings.maxBodyBytes),
    maxOptionsBytes: read(settings.maxOptionsBytes),
    maxUploadBytes: read(settings.maxUploadBytes),
    maxPixels: read(settings.maxPixels),
    maxSide: read(settings.maxSide),
    maxBatchImages: read(settings.maxBatchImages),
    decoders: read(settings.decoders),
    decodeTimeoutMs: read(settings.decodeTimeoutMs),
    decodeMemoryBytes: read(settings.decodeMemoryBytes),
    heic: read(settings.heic),
    cacheSize: read(settings.cacheSize),
    allowUrlImages: read(settings.allowUrlImages),
    urlImageHosts: read(settings.urlImageHosts),
    urlImageNetworks: read(settings.urlImageNetworks),
    queueUrl: read(settings.queueUrl),
    jobsWorker: read(settings.jobsWorker),
    jobsRoot: read(settings.jobsRoot),
    jobsBuckets: read(settings.jobsBuckets),
    jobsShardImages: read(settings.jobsShardImages),
    jobsKeepHours: read(settings.jobsKeepHours),
    webhookSecret: read(settings.webhookSecret),
    webhookHosts: read(settings.webhookHosts),
    webhookNetworks: read(settings.webhookNetworks),
    apiKeyHashes: read(settings.apiKeys),
    keylessPaths: read(settings.keylessPaths),
    protocols: read(settings.protocols),
    modelAliases: read(settings.modelAliases),
    protocolMinConfidence: read(settings.protocolMinConfidence),
    rateLimit: read(settings.rateLimit),
    trustProxy: read(settings.trustProxy),
    corsOrigins: read(settings.corsOrigins),
    logLevel: read(settings.logLevel),
  };
  if (problems.length > 0) throw new ConfigError(problems.join('\n'));
  return config;
}

/** A value for a message, on one line and not longer than a line. */
function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}

/** One setting in words. */
export interface SettingFacts {
  readonly name: string;
  readonly help: string;
  /** What holds without it. */
  readonly state: string;
  /** What it takes. */
  readonly takes: string;
}

/** The table in words. */
export function settingsFacts(): SettingFacts[] {
  return Object.values(settings).map(({ name, parse, help, default: value, defaultText }) => {
    const state = defaultText ?? String(value);
    return { name, help, state, takes: acceptedBy(parse) };
  });
}

/** The table as text, one setting a line. */
export function settingsHelp(): string {
  const facts = settingsFacts();
  const width = Math.max(...facts.map(({ name }) => name.length));
  return facts.map(({ name, help, state }) => `  ${name.padEnd(width)}  ${help} [${state}]`).join('\n');
}
