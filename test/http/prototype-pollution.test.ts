import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { quarters } from '../images/drawn.js';
import { formOf, json, startService } from './service.js';

const photo = await quarters().jpeg().toBuffer();
const image = photo.toString('base64');
/** Names that objects have from their prototype. */
const names = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'];

/** The service runs in this very process, so what it did to the prototypes shows here. */
afterEach(() => {
  assert.deepEqual(
    Object.keys(Object.getOwnPropertyDescriptors(Object.prototype)).filter((name) =>
      /candidates|polluted/.test(name),
    ),
    [],
  );
  assert.ok(!('polluted' in {}) && !('candidates' in {}));
});

async function refused(url: string, init: RequestInit, query = ''): Promise<void> {
  const response = await fetch(`${url}/v1/captions${query}`, { method: 'POST', ...init });
  const problem = await json(response);
  assert.equal(response.status, 400, JSON.stringify(problem));
  assert.match(String(problem['code']), /^(invalid_option|malformed_json|missing_image)$/);
}

for (const name of names) {
  test(`${name} is no option of JSON, whatever its value`, async (t) => {
    const { url, scheduler } = await startService(t);
    const headers = { 'content-type': 'application/json' };
    for (const value of ['{"polluted":1,"candidates":1}', '{"prototype":{"polluted":1}}', '1']) {
      await refused(url, { headers, body: `{"image":"${image}","${name}":${value}}` });
      await refused(url, { headers, body: `{"image":"${image}","concepts":{"${name}":${value}}}` });
    }
    assert.equal(scheduler.items.length, 0);
    await scheduler.idle();
  });

  test(`${name} is no option of a form or of the query`, async (t) => {
    const { url, scheduler } = await startService(t);
    await refused(url, { body: formOf([name, '1'], ['image', photo]) });
    await refused(url, { body: formOf([`${name}[polluted]`, '1'], ['image', photo]) });
    await refused(url, { body: formOf([name, photo], ['image', photo]) });
    await refused(url, { body: formOf(['image', photo]) }, `?${name}=1`);
    await refused(url, { body: formOf(['image', photo]) }, `?${name}[polluted]=1`);
    assert.equal(scheduler.items.length, 0);
    await scheduler.idle();
  });
}

test('a batch takes no such names for its entries’ either', async (t) => {
  const { url, scheduler } = await startService(t);
  const headers = { 'content-type': 'application/json' };
  for (const name of names) {
    const body = `{"images":[{"image":"${image}","${name}":{"polluted":1}}]}`;
    const response = await fetch(`${url}/v1/captions/batch`, { method: 'POST', headers, body });
    assert.deepEqual([response.status, (await json(response))['code']], [400, 'malformed_json'], name);
  }
  await scheduler.idle();
});
