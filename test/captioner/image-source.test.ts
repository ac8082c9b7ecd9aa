import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  fromBase64,
  type ImageSource,
  readBytes,
  type SourceLimits,
} from '../../src/captioner/image-source.js';
import { ServiceError } from '../../src/errors.js';

function refused(code: string, detail: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ServiceError);
    assert.equal(error.code, code);
    assert.match(error.detail, detail);
    return true;
  };
}

describe('base64', () => {
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));

  it('is read in either alphabet, with and without padding', () => {
    fc.assert(
      fc.property(bytes, (original) => {
        const padded = original.toString('base64');
        const urlSafe = original.toString('base64url');
        for (const text of [padded, padded.replace(/=+$/, ''), urlSafe]) {
          assert.deepEqual(fromBase64(text), original);
        }
      }),
    );
    assert.deepEqual(fromBase64('-_-_'), fromBase64('+/+/'));
  });

  it('is read with a data: prefix of any media type', () => {
    for (const prefix of [
      'data:image/jpeg;base64,',
      'data:;base64,',
      'DATA:image/png;charset=utf-8;BASE64,',
    ]) {
      assert.deepEqual(fromBase64(`${prefix}AQID`), Buffer.of(1, 2, 3));
    }
  });

  it('is read with line breaks, as mail programs and base64(1) write them', () => {
    fc.assert(
      fc.property(bytes, fc.constantFrom('\n', '\r\n'), (original, end) => {
        const lines = original.toString('base64').match(/.{1,76}/g) ?? [];
        assert.deepEqual(fromBase64(`data:image/jpeg;base64,${lines.join(end)}${end}`), original);
      }),
    );
  });

  it('that is empty is an image of no bytes', () => {
    assert.equal(fromBase64('').length, 0);
    assert.equal(fromBase64('data:image/png;base64,').length, 0);
  });

  it('is refused when a character is none of base64, wherever it is', () => {
    fc.assert(
      fc.property(
        bytes,
        fc.nat(),
        fc.constantFrom('*', ' ', '!', 'é', ',', '.', '\t'),
        (original, at, other) => {
          const text = original.toString('base64');
          const index = at % (text.length + 1);
          const damaged = text.slice(0, index) + other + text.slice(index);
          assert.throws(() => fromBase64(damaged), refused('invalid_base64', /not valid base64/));
        },
      ),
    );
  });

  it('is refused with an impossible length or wrong padding', () => {
    for (const text of ['A', 'AAAAA', 'AA=', 'AAA==', 'AAAA=', 'AAAA==', '=', '==', 'AA=A', 'A===']) {
      assert.throws(() => fromBase64(text), refused('invalid_base64', /not valid base64/), text);
    }
  });

  it('that is no text is refused', () => {
    for (const value of [7, null, undefined, {}, ['AAAA'], true]) {
      assert.throws(() => fromBase64(value), refused('invalid_base64', /must be a text/));
    }
  });

  it('behind something like a data: prefix that is none is refused', () => {
    for (const text of ['data:image/png,AAAA', `data:${'x'.repeat(101)};base64,AAAA`, 'xdata:;base64,AAAA']) {
      assert.throws(() => fromBase64(text), refused('invalid_base64', /not valid base64/), text);
    }
  });
});

describe('the bytes of an image', () => {
  const { signal } = new AbortController();
  const read = (source: ImageSource, limits: Partial<SourceLimits> = {}) =>
    readBytes(source, { maxBytes: 100, ...limits }, signal);

  it('are those that were sent, untouched', async () => {
    const bytes = Buffer.from('not looked at');
    assert.equal(await read({ kind: 'bytes', bytes }), bytes);
  });

  it('are those of the base64 that was sent', async () => {
    assert.deepEqual(await read({ kind: 'base64', text: 'AQID' }), Buffer.of(1, 2, 3));
    await assert.rejects(read({ kind: 'base64', text: 7 }), refused('invalid_base64', /must be a text/));
  });

  it('are fetched from a URL, within the limit and until the request ends', async () => {
    const fetched: unknown[] = [];
    const found = await read(
      { kind: 'url', url: 'https://example.com/a.jpg' },
      {
        fetchImage: (...request) => {
          fetched.push(request);
          return Promise.resolve(Buffer.from('fetched'));
        },
      },
    );
    assert.equal(found.toString(), 'fetched');
    assert.deepEqual(fetched, [['https://example.com/a.jpg', { maxBytes: 100, signal }]]);
  });

  it('are not fetched from something that is no text', async () => {
    const fetchImage = (): Promise<Buffer> => Promise.reject(new Error('it was fetched'));
    for (const url of [7, null, undefined, {}, ['https://example.com/']]) {
      await assert.rejects(
        read({ kind: 'url', url }, { fetchImage }),
        refused('url_not_allowed', /must be a text/),
      );
    }
  });

  it('are not fetched where images may not be given by URL', async () => {
    const source: ImageSource = { kind: 'url', url: 'https://example.com/a.jpg' };
    await assert.rejects(read(source), refused('url_not_allowed', /fetches no URLs/));
  });
});
