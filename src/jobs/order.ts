import { invalidOption, parseCaptionOptions } from '../captioner/options.js';
import { ServiceError } from '../errors.js';
import type { JobOrder, JobSource } from './job.js';
import { isWebAddress, type Locations } from './locations.js';

export interface OrderPolicy {
  readonly locations: Locations;
  /** Whether images may be given by URL. */
  readonly allowUrlImages: boolean;
  /** Checks the address of a web hook. Absent where none can be signed. Throws ServiceError url_not_allowed. */
  readonly checkHook?: ((url: string) => void) | undefined;
}

/** More are a manifest. */
export const maxUrls = 10_000;
const maxNameLength = 2048;

/**
 * Checks an order as a client sends it. What it names is looked at later.
 *
 * @param maxWords the longest caption of the bundle, in words
 * @throws ServiceError malformed_json | invalid_option | url_not_allowed | forbidden
 */
export async function parseOrder(body: unknown, maxWords: number, policy: OrderPolicy): Promise<JobOrder> {
  if (!isObject(body)) throw new ServiceError('malformed_json', 'The body must be a JSON object.');
  const { source, options = {}, output, webhook, ...others } = body;
  const unknown = Object.keys(others)[0];
  if (unknown !== undefined) {
    throw invalidOption(
      `There is no option "${unknown.slice(0, 40)}"; there are source, options, output, webhook.`,
    );
  }
  if (!isObject(options)) throw invalidOption('options must be an object with options of a caption.');
  parseCaptionOptions({ texts: [], members: options }, maxWords);
  if (!isName(output)) throw invalidOption('output must be a folder, or s3://bucket/prefix.');
  return {
    source: await checkSource(parseSource(source), policy),
    options,
    output: (await policy.locations.resolve(output)).replace(/\/+$/, ''),
    webhook: parseHook(webhook, policy),
  };
}

function parseSource(source: unknown): JobSource {
  const [[kind, value] = [], ...others] = isObject(source) ? Object.entries(source) : [];
  if (others.length === 0) {
    if (kind === 'urls' && Array.isArray(value) && value.length > 0 && value.length <= maxUrls) {
      const names = value.filter(isName);
      if (names.length === value.length) return { urls: names };
    }
    if (kind === 'prefix' && isName(value)) return { prefix: value };
    if (kind === 'manifest' && isName(value)) return { manifest: value };
  }
  throw invalidOption(
    `source must be an object with one of urls (1 to ${maxUrls} texts), prefix or manifest (a text).`,
  );
}

/** What is not allowed is refused before there is a job, where the order itself names it. */
async function checkSource(
  source: JobSource,
  { locations, allowUrlImages }: OrderPolicy,
): Promise<JobSource> {
  const names = 'urls' in source ? source.urls : [];
  if (names.some(isWebAddress) && !allowUrlImages) {
    throw new ServiceError('url_not_allowed', 'This service fetches no URLs; name folders or buckets.');
  }
  if ('prefix' in source) await locations.resolve(source.prefix);
  if ('manifest' in source) await locations.resolve(source.manifest);
  for (const name of names) if (!isWebAddress(name)) await locations.resolve(name);
  return source;
}

function parseHook(webhook: unknown, { checkHook }: OrderPolicy): string | undefined {
  if (webhook === undefined) return undefined;
  if (typeof webhook !== 'string') throw invalidOption('webhook must be a URL.');
  if (checkHook === undefined) {
    throw invalidOption('webhook must be left out: this service has no WEBHOOK_SECRET to sign it with.');
  }
  checkHook(webhook);
  return webhook;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '' && value.length <= maxNameLength;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
