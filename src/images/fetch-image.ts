import { type IncomingMessage, get as getByHttp } from 'node:http';
import { get as getByHttps } from 'node:https';
import { ServiceError } from '../errors.js';
import { packageVersion } from '../version.js';
import { createPublicLookup, type ResolveHost } from './public-lookup.js';
import { createUrlCheck, type UrlPolicy } from './url-policy.js';
import { abortError } from '../promises.js';

export interface FetchRequest {
  readonly maxBytes: number;
  /** Aborted at the request's deadline, or when its client has gone. */
  readonly signal: AbortSignal;
}

/**
 * Fetches the bytes at a URL.
 *
 * @throws ServiceError url_not_allowed | url_unreachable | body_too_large
 */
export type FetchImage = (url: string, request: FetchRequest) => Promise<Buffer>;

const maxRedirects = 3;
/** From the request to the last byte, redirects included; a slow server must not hold a place in the queue for long. */
const maxFetchMs = 10_000;

export function createImageFetcher(policy: UrlPolicy, resolve?: ResolveHost, maxMs = maxFetchMs): FetchImage {
  const check = createUrlCheck(policy);
  const headers = {
    accept: 'image/*',
    'accept-encoding': 'identity',
    // Servers of images refuse clients that do not say what they are.
    'user-agent': `pcm-caption/${packageVersion()}`,
  };
  const lookup = createPublicLookup(check, resolve);

  function get(url: URL, signal: AbortSignal): Promise<IncomingMessage> {
    const request = url.protocol === 'https:' ? getByHttps : getByHttp;
    // A connection of its own, checked for this request alone.
    const options = { lookup, signal, agent: false, headers };
    return new Promise((answered, failed) => {
      request(url, options, answered)
        .on('error', failed)
        // A server that changes the protocol (status 101) sends no response.
        .on('upgrade', (_response, socket) => {
          socket.destroy();
          failed(unreachable('The server at the URL answered with status 101.'));
        });
    });
  }

  async function follow(address: string, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
    let url = check.url(address);
    for (let redirects = 0; redirects <= maxRedirects; redirects++) {
      const response = await get(url, signal);
      const { statusCode = 0, headers } = response;
      if (statusCode === 200) return readAll(response, maxBytes);
      response.destroy();
      const { location } = headers;
      if (![301, 302, 303, 307, 308].includes(statusCode) || location === undefined) {
        throw unreachable(
          `The server at the URL answered with status ${statusCode}.`,
          statusCode >= 500 || statusCode === 429 || statusCode === 408,
        );
      }
      url = check.url(location, url);
    }
    throw unreachable(`The URL redirects more than ${maxRedirects} times.`);
  }

  return async (address, { maxBytes, signal }) => {
    const timeout = AbortSignal.timeout(maxMs);
    try {
      return await follow(address, maxBytes, AbortSignal.any([signal, timeout]));
    } catch (error) {
      if (signal.aborted) throw abortError(signal);
      if (error instanceof ServiceError) throw error;
      const problem = unreachable(
        timeout.aborted
          ? 'The server at the URL did not send the image in time.'
          : 'The server at the URL could not be reached.',
        true,
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

function unreachable(detail: string, isTransient = false): ServiceError {
  return new ServiceError('url_unreachable', detail, undefined, isTransient);
}
