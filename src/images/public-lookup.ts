import { lookup as resolveName, type LookupAddress } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { promisify } from 'node:util';
import pLimit from 'p-limit';
import { notPublic, type UrlCheck } from './url-policy.js';

/** All addresses of a host. */
export type ResolveHost = (hostname: string) => Promise<readonly LookupAddress[]>;

/**
 * Names resolved at the same time. Each takes a thread of libuv's pool, which images are decoded in as well, and whoever
 * sends URLs can make names slow to resolve.
 */
const maxLookups = 2;

const resolveAll = promisify(resolveName);

/**
 * What a connection asks for the addresses it then tries: nothing else resolves the name again in between. A host of which
 * one address is not allowed has none.
 */
export function createPublicLookup(
  check: UrlCheck,
  resolve: ResolveHost = (hostname) => resolveAll(hostname, { all: true }),
): LookupFunction {
  const limitLookups = pLimit(maxLookups);
  return (hostname, options, done) => {
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
}
