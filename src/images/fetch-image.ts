import { lookup as resolveName, type LookupAddress } from 'node:dns';
import { type IncomingMessage, get as getByHttp } from 'node:http';
import { get as getByHttps } from 'node:https';
import type { LookupFunction } from 'node:net';
import { promisify } from 'node:util';
import pLimit from 'p-limit';
import { ServiceError } from '../problem.js';
import { packageVersion } from '../version.js';
import { createUrlCheck, notPublic, type UrlPolicy } from './url-policy.js';

export interface FetchRequest {
  readonly maxBytes: number;
  /** When the image is worthless, in the milliseconds of `performance.now()`. */
  readonly deadline: number;
  /** Aborted when the client has gone. */
  readonly signal: AbortSignal;
}

/**
 * Fetches the bytes at a URL.
 *
 * @throws ServiceError url_not_allowed | url_unreachable | body_too_large
 */
export type FetchImage = (url: string, request: FetchRequest) => Promise<Buffer>;

/** All addresses of a host. */
export type ResolveHost = (hostname: string) => Promise<readonly LookupAddress[]>;

const mostRedirects = 3;
/** From the request to the last byte, redirects included; a slow server must not hold a place in the queue for long. */
const longestFetchMs = 10_000;
/**
 * Names resolved at the same time. Each takes a thread of libuv's pool, which images are decoded in as well, and whoever
 * sends URLs can make names slow to resolve.
 */
const mostLookups = 2;

const resolveAll = promisify(resolveName);

export function createImageFetcher(
  policy: UrlPolicy,
  resolve: ResolveHost = (hostname) => resolveAll(hostname, { all: true }),
): FetchImage {
  const check = createUrlCheck(policy);
  const headers = {
    accept: 'image/*',
    'accept-encoding': 'identity',
    // Servers of images refuse clients that do not say what they are.
    'user-agent': `pcm-caption/${packageVersion()}`,
  };
  const limitLookups = pLimit(mostLookups);

  /** What a connection asks for the addresses it then tries: nothing else resolves the name again in between. */
  const lookup: LookupFunction = (hostname, options, done) => {
    limitLookups(() => resolve(hostname)).then(
      (addresses) => {
        const [first] = addresses;
        if (first === undefined || !addresses.every(({ address }) => check.address(address))) {
          done(notPublic(), []);
        } else if (options.all === true) {
          done(null, [...addresses]);
        } else {
          done(null, first.address, first.family);
        }
      },
      (error: unknown) => {
        done(error instanceof Error ? error : new Error(String(error)), []);
      },
    );
  };

  function get(url: URL, signal: AbortSignal): Promise<IncomingMessage> {
    const request = url.protocol === 'https:' ? getByHttps : getByHttp;
    // A connection of its own, checked for this request alone.
    const options = { lookup, signal, agent: false, headers };
    return new Promise((answered, failed) => {
      request(url, options, answered).on('error', failed);
    });
  }

  async function follow(address: string, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
    let url = check.url(address);
    for (let redirects = 0; redirects <= mostRedirects; redirects++) {
      const response = await get(url, signal);
      const { statusCode = 0, headers } = response;
      if (statusCode === 200) return readAll(response, maxBytes);
      response.destroy();
      const { location } = headers;
      if (![301, 302, 303, 307, 308].includes(statusCode) || location === undefined) {
        throw unreachable(`The server at the URL answered with status ${statusCode}.`);
      }
      url = check.url(location, url);
    }
    throw unreachable(`The URL redirects more than ${mostRedirects} times.`);
  }

  return async (address, { maxBytes, deadline, signal }) => {
    const limitMs = Math.min(longestFetchMs, Math.max(0, deadline - performance.now()));
    const timeout = AbortSignal.timeout(Math.ceil(limitMs));
    try {
      return await follow(address, maxBytes, AbortSignal.any([signal, timeout]));
    } catch (error) {
      if (signal.aborted || error instanceof ServiceError) throw error;
      const problem = unreachable(
        timeout.aborted
          ? 'The server at the URL did not send the image in time.'
          : 'The server at the URL could not be reached.',
      );
      problem.cause = error;
      throw problem;
    }
  };
}

async function readAll(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLarge = () =>
    new ServiceError('body_too_large', `The image at the URL may have at most ${maxBytes} bytes.`);
  const encoding = response.headers['content-encoding'] ?? 'identity';
  try {
    if (encoding !== 'identity')
      throw unreachable('The server at the URL sends the image in a content encoding.');
    if (Number(response.headers['content-length']) > maxBytes) throw tooLarge();
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of response) {
      if (!Buffer.isBuffer(chunk)) throw new Error('a response gave something other than bytes');
      length += chunk.length;
      if (length > maxBytes) throw tooLarge();
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } finally {
    response.destroy();
  }
}

function unreachable(detail: string): ServiceError {
  return new ServiceError('url_unreachable', detail);
}
