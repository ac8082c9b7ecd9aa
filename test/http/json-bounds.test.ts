import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ServiceError } from '../../src/errors.js';
import { boundJson } from '../../src/http/json-bounds.js';

const maxBytes = 1000;
const image = 'A'.repeat(100_000);

function codeOf(text: string): string {
  try {
    boundJson(Buffer.from(text), maxBytes);
    return 'taken';
  } catch (error) {
    assert.ok(error instanceof ServiceError);
    return error.code;
  }
}

/** What is read of a body in the two steps. */
function read(text: string): unknown {
  const { text: rest, restore } = boundJson(Buffer.from(text), maxBytes);
  assert.ok(rest.length <= maxBytes, 'payloads are not parsed');
  return restore(JSON.parse(rest));
}

describe('a JSON body', () => {
  for (const [what, text] of [
    ['one image', JSON.stringify({ image })],
    ['several images', JSON.stringify({ images: [{ image }, { image }] })],
    ['an image whose slashes are escaped, as PHP writes it', `{"image":"${'\\/9j'.repeat(25_000)}"}`],
    ['options', JSON.stringify({ image, concepts: ['dog', 'a "red" cat', 'back\\slash\\'] })],
    ['as many bytes beside the image as are allowed', `${' '.repeat(maxBytes - 12)}{"image":"${image}"}`],
    ['what is no JSON, which the parser says', '"'],
    ['nothing', ''],
  ] as const) {
    it(`of ${what} is taken`, () => {
      assert.equal(codeOf(text), 'taken');
    });
  }

  for (const [what, text] of [
    ['numbers', `{"concepts":[${'0,'.repeat(1_000_000)}0]}`],
    ['short texts', `{"concepts":[${'"a",'.repeat(1_000_000)}"a"]}`],
    ['members', `{${Array.from({ length: 100_000 }, (_, at) => `"k${at}":1`).join(',')}}`],
    ['objects', `{"concepts":[${'{},'.repeat(1_000_000)}{}]}`],
    ['escaped quotes', `{"avoidWords":["${'\\"'.repeat(1_000_000)}"]}`],
    ['bytes of a name', `{"${image}":1}`],
    ['bytes of a name, and space after it', `{"${image}"${' '.repeat(500)}:1}`],
    ['space', `{${' '.repeat(1_000_000)}}`],
    ['bytes of one more than are allowed', `${' '.repeat(maxBytes - 11)}{"image":"${image}"}`],
    ['lists in each other', '['.repeat(33)],
    ['lists and objects in each other', '{"a":['.repeat(17)],
  ] as const) {
    it(`of too many ${what} is refused`, () => {
      assert.equal(codeOf(text), 'malformed_json');
    });
  }

  it('is what the parser reads, with payloads wherever they are', () => {
    const payload = fc
      .tuple(fc.constantFrom('A', '\\/9', '\\u0041', '\\"'), fc.integer({ min: 4100, max: 5000 }))
      .map(([part, times]) => `"${part.repeat(times)}"`.replaceAll('\\"', times > 4500 ? '\\n' : 'B'));
    const value = fc.letrec<{ value: string }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        payload,
        fc.constantFrom('"short"', '1', 'null', 'true', '"犬"'),
        fc.array(tie('value'), { maxLength: 3 }).map((each) => `[${each.join(', ')}]`),
        fc.dictionary(fc.constantFrom('image', 'a', 'b'), tie('value'), { maxKeys: 3 }).map(
          (members) =>
            `{${Object.entries(members)
              .map(([name, each]) => `"${name}" :${each}`)
              .join(',')}}`,
        ),
      ),
    })).value;
    fc.assert(
      fc.property(value, (text) => {
        assert.deepEqual(read(text), JSON.parse(text));
      }),
    );
  });

  for (const [what, text] of [
    ['has no end', `{"image":"${image}`],
    ['ends in an escape', `{"image":"${image}\\"`],
    ['has a line break', `{"image":"${image}\n"}`],
    ['has an escape that there is not', `{"image":"${image}\\x"}`],
  ] as const) {
    it(`whose payload ${what} is refused`, () => {
      assert.throws(() => read(text), /JSON/);
    });
  }

  it('of too much text that is no payload, as it is not ASCII, is refused', () => {
    assert.equal(codeOf(JSON.stringify({ prompt: '犬'.repeat(5000) })), 'malformed_json');
  });

  it('that is small and flat is taken, whatever it is', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), (text) => {
        fc.pre(Buffer.byteLength(text) * 2 < maxBytes);
        assert.equal(codeOf(text), 'taken');
      }),
    );
  });
});
