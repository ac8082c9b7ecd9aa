import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createUrlCheck } from '../../src/images/url-policy.js';
import { ServiceError } from '../../src/errors.js';

const open = createUrlCheck({ hosts: [], networks: [] });
const isNotAllowed = (error: unknown) => error instanceof ServiceError && error.code === 'url_not_allowed';

const forbidden = {
  'this machine': ['127.0.0.1', '127.8.8.8', '::1', '0.0.0.0', '::'],
  'private networks': ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', 'fd00::1', 'fc00::1'],
  'link-local addresses': ['169.254.1.1', 'fe80::1'],
  'metadata services': ['169.254.169.254', 'fd00:ec2::254', '100.100.100.200', '168.63.129.16'],
  'shared and reserved ranges': ['100.64.0.1', '192.0.0.192', '198.18.0.1', '203.0.113.1', '240.0.0.1'],
  'many at once': ['224.0.0.1', '255.255.255.255', 'ff02::1'],
  'IPv4 addresses in IPv6 clothes': ['::ffff:127.0.0.1', '::ffff:10.0.0.1', '::127.0.0.1'],
  'translated and tunnelled IPv4': ['64:ff9b::7f00:1', '64:ff9b:1::a00:1', '2002:7f00:1::', '2001::1'],
  'IPv6 outside the internet': ['fec0::1', '4000::1', '100::1', '2001:db8::1'],
  'what is no address': ['', 'localhost', '1.2.3', 'fe80::1%eth0'],
};
for (const [what, addresses] of Object.entries(forbidden)) {
  test(`${what} are not reached`, () => {
    for (const address of addresses) assert.equal(open.address(address), false, address);
  });
}

test('public addresses are reached', () => {
  for (const address of ['93.184.216.34', '8.8.8.8', '2606:2800:220:1::1', '::ffff:8.8.8.8']) {
    assert.equal(open.address(address), true, address);
  }
});

test('networks that are let in are reached, and no others', () => {
  const { address } = createUrlCheck({ hosts: [], networks: ['10.1.0.0/16', 'fd12::/16'] });
  for (const inside of ['10.1.2.3', 'fd12::1', '::ffff:10.1.2.3'])
    assert.equal(address(inside), true, inside);
  for (const outside of ['10.2.0.1', 'fd13::1', '127.0.0.1']) assert.equal(address(outside), false, outside);
});

test('every spelling of a forbidden address in a URL is seen', () => {
  for (const host of [
    ...['127.0.0.1', '127.1', '0x7f.1', '2130706433', '017700000001', '127.0.0.1.', '１２７.0.0.1'],
    ...['[::1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '169.254.169.254', '[fd00:ec2::254]', '0'],
  ]) {
    assert.throws(() => open.url(`http://${host}/a.jpg`), isNotAllowed, host);
  }
});

test('only http and https are taken, without a password', () => {
  for (const url of [
    ...['file:///etc/passwd', 'ftp://example.org/a.jpg', 'data:image/png;base64,AA', 'gopher://example.org'],
    ...['http://', '//example.org/a.jpg', 'a.jpg', '', 'http://user@example.org', 'http://a:b@example.org'],
    `http://example.org/${'a'.repeat(2048)}`,
  ]) {
    assert.throws(() => open.url(url), isNotAllowed, url);
  }
  assert.equal(open.url('HTTPS://Example.org:8443/a.jpg').href, 'https://example.org:8443/a.jpg');
});

test('with a list of hosts, others are not asked', () => {
  const { url } = createUrlCheck({ hosts: ['example.org', '*.cdn.example.net'], networks: [] });
  for (const host of [
    'example.org',
    'EXAMPLE.ORG',
    'example.org.',
    'a.cdn.example.net',
    'b.a.cdn.example.net',
  ]) {
    assert.ok(url(`https://${host}/a.jpg`), host);
  }
  for (const host of ['example.com', 'a.example.org', 'cdn.example.net', 'evilcdn.example.net', '8.8.8.8']) {
    assert.throws(() => url(`https://${host}/a.jpg`), isNotAllowed, host);
  }
});
