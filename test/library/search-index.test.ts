import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { type IndexedImage, SearchIndex } from '../../src/library/search-index.js';

const model = { id: 'toy', version: '1', dimensions: 16 };

function pathOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pcm-caption-index-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  return join(folder, 'index.db');
}

/** A vector of unit length that a number stands for. */
function vector(seed: number): Float32Array {
  const values = Float32Array.from({ length: 16 }, (_, index) => Math.sin(seed * 12.9 + index * 78.2));
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}

function image(seed: number, tags: readonly string[] = []): IndexedImage {
  return {
    name: `${seed}.jpg`,
    bytes: seed,
    modifiedMs: seed + 0.5,
    sha256: `content ${seed}`,
    embedding: vector(seed),
    caption: seed % 2 === 0 ? null : `Caption ${seed}`,
    tags,
  };
}

function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
}

test('a search finds the most similar of all images, best first', async (t) => {
  const index = await SearchIndex.openForWriting(pathOf(t), model);
  t.after(() => {
    index.close();
  });
  for (let seed = 0; seed < 300; seed++) index.put(image(seed));
  for (const query of [1000.5, 2000.5, 3000.5].map(vector)) {
    const expected = Array.from({ length: 300 }, (_, seed) => ({ seed, cosine: cosine(query, vector(seed)) }))
      .sort((a, b) => b.cosine - a.cosine)
      .slice(0, 10);
    const hits = index.search(query, { limit: 10 });
    assert.deepEqual(
      hits.map(({ name }) => name),
      expected.map(({ seed }) => `${seed}.jpg`),
    );
    for (const [rank, { similarity }] of hits.entries()) {
      assert.ok(Math.abs(similarity - (expected[rank]?.cosine ?? 0)) < 1e-5);
    }
  }
});

test('a tag is a condition, and captions and tags come back', async (t) => {
  const index = await SearchIndex.openForWriting(pathOf(t), model);
  t.after(() => {
    index.close();
  });
  for (const [seed, tags] of [
    [1, ['dog']],
    [2, ['dog', 'beach']],
    [3, ['doghouse']],
  ] as const) {
    index.put(image(seed, tags));
  }
  const hits = index.search(vector(2), { limit: 10, tag: 'dog' });
  assert.deepEqual(
    hits.map(({ name, caption, tags }) => ({ name, caption, tags })),
    [
      { name: '2.jpg', caption: null, tags: ['dog', 'beach'] },
      { name: '1.jpg', caption: 'Caption 1', tags: ['dog'] },
    ],
  );
  assert.deepEqual(index.search(vector(2), { limit: 10, tag: "'; DROP TABLE images --" }), []);
});

test('an image is there once, under each of its names, until it is removed', async (t) => {
  const path = pathOf(t);
  const writing = await SearchIndex.openForWriting(path, model);
  writing.put(image(1));
  writing.put({ ...image(1), bytes: 7 });
  assert.equal(writing.copy('content 1', { name: 'copy.jpg', bytes: 8, modifiedMs: 9 }, false), true);
  assert.equal(writing.copy('content 2', { name: 'other.jpg', bytes: 8, modifiedMs: 9 }, false), false);
  const before = [
    { name: '1.jpg', bytes: 7, modifiedMs: 1.5, isCaptioned: 1 },
    { name: 'copy.jpg', bytes: 8, modifiedMs: 9, isCaptioned: 1 },
  ];
  assert.deepEqual(
    [...writing.known()].sort((a, b) => a.bytes - b.bytes),
    before,
  );
  writing.remove('1.jpg');
  writing.close();
  const reading = await SearchIndex.open(path, model);
  assert.equal(reading.size, 1);
  assert.deepEqual(
    reading.search(vector(1), { limit: 5 }).map(({ name }) => name),
    ['copy.jpg'],
  );
  reading.close();
});

test('vectors of another model are refused, and replaced when it is written', async (t) => {
  const path = pathOf(t);
  const first = await SearchIndex.openForWriting(path, model);
  first.put(image(1));
  first.close();
  const other = { ...model, version: '2' };
  await assert.rejects(SearchIndex.open(path, other), { code: 'storage_unavailable' });
  const second = await SearchIndex.openForWriting(path, other);
  assert.equal(second.size, 0);
  second.close();
});

test('a folder without an index, and a file that is none, are said in words', async (t) => {
  const path = pathOf(t);
  await assert.rejects(SearchIndex.open(path, model), { code: 'not_found' });
  writeFileSync(path, 'no index, but a text that is long enough to be looked at '.repeat(100));
  await assert.rejects(SearchIndex.open(path, model), { code: 'storage_unavailable' });
  await assert.rejects(SearchIndex.openForWriting(path, model), { code: 'storage_unavailable' });
});
