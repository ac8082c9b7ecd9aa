import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { ServiceError } from '../errors.js';

/** Where images may be fetched from. */
export interface UrlPolicy {
  /** Names of hosts, `*.` before one for all below it; empty: every public host. */
  readonly hosts: readonly string[];
  /** Networks (CIDR) that are reached although they are not public. */
  readonly networks: readonly string[];
}

export interface UrlCheck {
  /** @throws ServiceError url_not_allowed: another scheme, host or (where the URL has one) address than is allowed */
  readonly url: (text: string, base?: URL) => URL;
  /** Whether a connection to this address is allowed. */
  readonly address: (address: string) => boolean;
}

/** Longer URLs are refused by many servers too. */
const longestUrl = 2048;
/** Addresses that look public and lead to the host's own services: of Azure (DNS, DHCP, the agent of virtual machines). */
const hostServices: readonly string[] = ['168.63.129.16'];
/** All IPv6 addresses that are given to networks of the internet (RFC 4291); everything else is for other uses. */
const globalUnicast = ipaddr.parseCIDR('2000::/3');

export function createUrlCheck({ hosts, networks }: UrlPolicy): UrlCheck {
  const allowedNetworks = networks.map((network) => ipaddr.parseCIDR(network));

  function isAllowedAddress(text: string): boolean {
    // ipaddr.js reads numbers with fewer parts as addresses too.
    if (isIP(text) === 0) return false;
    // An IPv4 address in IPv6 clothes is the IPv4 address.
    const address = ipaddr.process(text);
    const isInside = allowedNetworks.some(
      ([network, bits]) => network.kind() === address.kind() && address.match(network, bits),
    );
    if (isInside) return true;
    if (hostServices.includes(address.toString())) return false;
    return address.range() === 'unicast' && (address.kind() === 'ipv4' || address.match(globalUnicast));
  }

  function isAllowedHost(hostname: string): boolean {
    if (hosts.length === 0) return true;
    return hosts.some((host) =>
      host.startsWith('*.') ? hostname.endsWith(host.slice(1)) : hostname === host,
    );
  }

  return {
    url(text, base) {
      const url = URL.canParse(text, base?.href) ? new URL(text, base) : undefined;
      if (url === undefined || text.length > longestUrl) {
        throw notAllowed('url must be an absolute URL of at most 2048 characters.');
      }
      if (url.protocol !== 'http:' && url.protocol !== 'https:') {
        throw notAllowed('url must begin with http:// or https://.');
      }
      if (url.username !== '' || url.password !== '') {
        throw notAllowed('url must not have a user name or password.');
      }
      // The parser has written every spelling of an address as one, 0x7f.1 as 127.0.0.1.
      const hostname = url.hostname.replace(/^\[|\]$|\.$/g, '');
      if (!isAllowedHost(hostname))
        throw notAllowed('The host of the URL is none that images are fetched from.');
      if (isIP(hostname) !== 0 && !isAllowedAddress(hostname)) throw notPublic();
      return url;
    },
    address: isAllowedAddress,
  };
}

export function notPublic(): ServiceError {
  return notAllowed('The URL leads to an address that is not public.');
}

function notAllowed(detail: string): ServiceError {
  return new ServiceError('url_not_allowed', detail);
}
