import { request as requestByHttp } from 'node:http';
import { request as requestByHttps } from 'node:https';
import { packageVersion } from '../version.js';
import { createPublicLookup, type ResolveHost } from './public-lookup.js';
import { createUrlCheck, type UrlPolicy } from './url-policy.js';

export interface JsonPost {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/**
 * Posts JSON to a server that a client has named, within the policy of such URLs; no redirect is followed. Resolves with the
 * status of the answer.
 *
 * @throws ServiceError url_not_allowed; Error when the server cannot be reached
 */
export type PostJson = (url: string, post: JsonPost) => Promise<number>;

export function createJsonPoster(policy: UrlPolicy, resolve?: ResolveHost): PostJson {
  const check = createUrlCheck(policy);
  const lookup = createPublicLookup(check, resolve);
  return async (text, { body, headers, signal }) => {
    const url = check.url(text);
    const send = url.protocol === 'https:' ? requestByHttps : requestByHttp;
    return new Promise((answered, failed) => {
      send(url, {
        method: 'POST',
        lookup,
        signal,
        agent: false,
        headers: {
          ...headers,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          'user-agent': `pcm-caption/${packageVersion()}`,
        },
      })
        .on('error', failed)
        .on('response', (response) => {
          // Nobody reads what it says.
          response.destroy();
          answered(response.statusCode ?? 0);
        })
        .on('upgrade', (_response, socket) => {
          socket.destroy();
          answered(101);
        })
        .end(body);
    });
  };
}
