import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import ipaddr from 'ipaddr.js';
import { type ApiKeyHash, hashApiKey } from './http/api-keys.js';

/** Where the repository or the installed package lies; compiled files are two folders below it. */
const packageRoot = fileURLToPath(new URL('../../', import.meta.url));

/** One setting: how its text is read, what holds without it, and what --help says. */
interface Setting<T> {
  /** The environment variable. */
  name: string;
  /** Throws InvalidValue. */
  parse: (text: string) => T;
  default: T;
  /** The default in words where the value itself would not tell. */
  defaultText?: string;
  help: string;
}

class InvalidValue extends Error {}

/** The start is refused; the message names the setting and what it takes. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

function integer(minimum: number, maximum: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < minimum || value > maximum) {
      throw new InvalidValue(`a whole number from ${minimum} to ${maximum}`);
    }
    return value;
  };
}

function automaticOr(minimum: number, maximum: number) {
  const number = integer(minimum, maximum);
  return (text: string): number | 'auto' => {
    if (text === 'auto') return 'auto';
    try {
      return number(text);
    } catch {
      throw new InvalidValue(`auto, or a whole number from ${minimum} to ${maximum}`);
    }
  };
}

function oneOf<const T extends string>(...choices: readonly T[]) {
  return (text: string): T => {
    const found = choices.find((choice) => choice === text);
    if (found === undefined) throw new InvalidValue(`one of ${choices.join(', ')}`);
    return found;
  };
}

function boolean(text: string): boolean {
  return oneOf('true', 'false')(text) === 'true';
}

function nonEmpty(what: string) {
  return (text: string): string => {
    if (text.trim() === '') throw new InvalidValue(what);
    return text;
  };
}

function list(what: string, pattern: RegExp) {
  return (text: string): readonly string[] => {
    const values = text.split(',').map((value) => value.trim());
    if (!values.every((value) => pattern.test(value))) throw new InvalidValue(what);
    return values;
  };
}

function networks(text: string): readonly string[] {
  const values = text.split(',').map((value) => value.trim());
  if (!values.every((value) => ipaddr.isValidCIDR(value))) {
    throw new InvalidValue('networks such as 10.0.0.0/8, separated by commas');
  }
  return values;
}

/**
 * Fastify's `trustProxy`. With `true` a client that reaches the service itself can name any address, and a number of
 * proxies would not be safer: networks are.
 */
function trustedProxies(text: string): boolean | string[] {
  if (text === 'true' || text === 'false') return text === 'true';
  try {
    return [...networks(text)];
  } catch {
    throw new InvalidValue('true, false, or the networks of proxies such as 10.0.0.0/8, separated by commas');
  }
}

/** Keys are forgotten as soon as they are read; the message never repeats one. */
function apiKeyHashes(text: string): readonly ApiKeyHash[] {
  return text.split(',').map((value) => {
    const key = value.trim();
    const hash = /^sha256:([0-9a-f]{64})$/i.exec(key)?.[1];
    if (hash !== undefined) return Buffer.from(hash, 'hex');
    if (!/^[\x21-\x7e]{16,}$/.test(key) || key.startsWith('sha256:')) {
      throw new InvalidValue(
        'keys of at least 16 characters, or sha256: and 64 hexadecimal digits, separated by commas',
      );
    }
    return hashApiKey(key);
  });
}

const noKeys: readonly ApiKeyHash[] = [];

const noText: readonly string[] = [];
const MiB = 1024 * 1024;

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
  maxBodyBytes: setting({
    name: 'MAX_BODY_BYTES',
    parse: integer(1024, 1024 * MiB),
    default: 20 * MiB,
    help: 'most bytes of a request body',
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
  fastJpeg: setting({
    name: 'FAST_JPEG',
    parse: boolean,
    default: false,
    help: 'true: decode large JPEGs at a fraction of their size, in less than half the time; about one caption in seven differs',
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
    parse: list('host names such as example.org or *.example.org', /^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$/),
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
  apiKeys: setting({
    name: 'API_KEYS',
    parse: apiKeyHashes,
    default: noKeys,
    defaultText: 'none: open',
    help: 'keys that protect /v1/*, or their SHA-256 as sha256:…, separated by commas',
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

/** Lets each entry of the table keep a type of its own. */
function setting<T>(entry: Omit<Setting<T>, 'default'> & { default: NoInfer<T> }): Setting<T> {
  return entry;
}

export type Environment = Readonly<Record<string, string | undefined>>;
export type Config = ReturnType<typeof readConfig>;

/** Reads all settings from the environment; an unset or empty variable takes its default. Throws ConfigError. */
export function readConfig(environment: Environment) {
  function read<T>({ name, parse, default: value }: Setting<T>): T {
    const text = environment[name];
    if (text === undefined || text === '') return value;
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof InvalidValue)) throw error;
      throw new ConfigError(`${name} must be ${error.message}`);
    }
  }
  return {
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
    maxBodyBytes: read(settings.maxBodyBytes),
    maxUploadBytes: read(settings.maxUploadBytes),
    maxPixels: read(settings.maxPixels),
    maxBatchImages: read(settings.maxBatchImages),
    decoders: read(settings.decoders),
    fastJpeg: read(settings.fastJpeg),
    cacheSize: read(settings.cacheSize),
    allowUrlImages: read(settings.allowUrlImages),
    urlImageHosts: read(settings.urlImageHosts),
    urlImageNetworks: read(settings.urlImageNetworks),
    apiKeyHashes: read(settings.apiKeys),
    rateLimit: read(settings.rateLimit),
    trustProxy: read(settings.trustProxy),
    corsOrigins: read(settings.corsOrigins),
    logLevel: read(settings.logLevel),
  };
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
    return { name, help, state, takes: refusalOf(parse) };
  });
}

/** No setting takes a blank, and each refuses it with what it takes. */
function refusalOf(parse: (text: string) => unknown): string {
  try {
    parse(' ');
  } catch (error) {
    if (error instanceof InvalidValue) return error.message;
  }
  throw new Error('a setting takes a blank');
}

/** The table as text, one setting a line. */
export function settingsHelp(): string {
  const facts = settingsFacts();
  const width = Math.max(...facts.map(({ name }) => name.length));
  return facts.map(({ name, help, state }) => `  ${name.padEnd(width)}  ${help} [${state}]`).join('\n');
}
