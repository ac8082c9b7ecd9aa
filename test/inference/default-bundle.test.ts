import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { collectGarbage } from './collect-garbage.js';
import { verifyFiles, choosePrecision } from '../../src/inference/bundle.js';
import type { BundleManifest } from '../../src/inference/manifest.js';
import { genderedWords } from '../../src/inference/gendered-words.js';
import { type LoadedPipeline, loadPipeline } from '../../src/inference/load-pipeline.js';
import type { CaptionItem, ModelOptions, CaptionOutcome } from '../../src/inference/messages.js';
import { createTextTokenizer } from '../../src/inference/stages/embed-text.js';
import { defaultBundle, itemOf, loadCommand, readDefaultManifest } from './default-bundle.js';
import { arePhotosReal, photoPixels } from './photos.js';

describe('the embedded bundle', () => {
  let manifest: BundleManifest;
  let pipeline: LoadedPipeline;
  let photos: Uint8Array[];

  before(async () => {
    manifest = await readDefaultManifest();
    pipeline = await loadPipeline(loadCommand(choosePrecision(manifest, 'cpu')));
    photos = await photoPixels(12, manifest.image);
  });

  const captionAll = (items: readonly CaptionItem[]): Promise<CaptionOutcome[]> =>
    outcomesOf(pipeline, items);

  async function captionFirst(options: Partial<ModelOptions>): Promise<CaptionOutcome> {
    const [outcome] = await captionAll(photos.slice(0, 1).map((pixels) => itemOf(pixels, manifest, options)));
    assert.ok(outcome);
    return outcome;
  }

  function wordsOf({ candidates }: CaptionOutcome): string[] {
    return candidates.flatMap(({ text }) => text.toLowerCase().split(' '));
  }

  it('is what its manifest says', async () => {
    await verifyFiles(defaultBundle, manifest);
  });

  it('is in memory once: the bytes of its files are freed after loading', async () => {
    const bytes = async () => {
      for (let round = 0; round < 3; round += 1) {
        collectGarbage();
        await setTimeout(20); // Another thread frees array buffers.
      }
      return process.memoryUsage().arrayBuffers;
    };
    const atFirst = await bytes();
    const another = await loadPipeline(loadCommand(choosePrecision(manifest, 'cpu')));
    const kept = (await bytes()) - atFirst;
    assert.ok(another.manifest);
    // The concepts and the centroids stay in memory. The smallest file of a graph has 7 MB.
    assert.ok(kept > 0 && kept < 4_000_000, `${kept} bytes`);
  });

  it('tokenizes like the library that its text encoder was trained with', async () => {
    const { file, maxTokens } = manifest.tokenizer;
    const json = await readFile(join(defaultBundle, file), 'utf8');
    const { tokenize } = createTextTokenizer(file, json, maxTokens);
    const ids = (text: string) => Array.from(tokenize([text]).inputIds, Number);
    // The expected ids come from the Python package `tokenizers` with the same file.
    assert.deepEqual(
      ids('a man riding a wave on top of a surfboard'),
      [101, 1037, 2158, 5559, 1037, 4400, 2006, 2327, 1997, 1037, 14175, 6277, 102],
    );
    assert.deepEqual(ids('a photo of a café'), [101, 1037, 6302, 1997, 1037, 7668, 102]);
    assert.deepEqual(
      ids("two dogs' snow-covered tennis-playing"),
      [101, 2048, 6077, 1005, 4586, 1011, 3139, 5093, 1011, 2652, 102],
    );
    assert.deepEqual(
      ids('Ünïcode 東京 and emoji 🐶!'),
      [101, 27260, 1879, 1755, 1998, 7861, 29147, 2072, 100, 999, 102],
    );
    assert.deepEqual(ids(''), [101, 102]);
    assert.equal(ids('zebra '.repeat(80)).length, maxTokens);
  });

  it('gives values within the ranges of the API', async () => {
    for (const { candidates, concepts } of await captionAll(
      photos.map((pixels) => itemOf(pixels, manifest)),
    )) {
      assert.ok(candidates.length >= 1);
      for (const { text, confidence, clipScore, logProb, meanLogProb } of candidates) {
        assert.match(text, /^[A-Z0-9][^.]*$/);
        assert.ok(text.split(' ').length <= manifest.decoding.maxLength);
        assert.ok(confidence >= 0 && confidence <= 1);
        assert.ok(clipScore >= 0 && clipScore <= 2.5);
        assert.ok(logProb <= meanLogProb && meanLogProb <= 0);
      }
      assert.equal(concepts.length, manifest.concepts.k);
      const scores = concepts.map(({ score }) => score);
      assert.deepEqual(
        scores,
        scores.toSorted((a, b) => b - a),
      );
      assert.ok(scores.reduce((sum, score) => sum + score, 0) <= 1 + 1e-5);
    }
  });

  const photosOnly = { skip: !arePhotosReal && 'captions of drawings fit any other drawing as well' };
  it('gives the caption of a photo a higher match probability than those of others', photosOnly, async () => {
    const captions = (await captionAll(photos.map((pixels) => itemOf(pixels, manifest)))).map(
      ({ candidates }) => candidates[0]?.text ?? '',
    );
    const answers = await pipeline.scoreBatch(
      photos.map((pixels) => ({ kind: 'score', pixels, texts: captions })),
    );
    let right = 0;
    for (const [index, answer] of answers.entries()) {
      assert.ok(answer.ok, JSON.stringify(answer));
      const { scores } = answer.outcome;
      const own = scores[index]?.matchProbability ?? NaN;
      const others = scores.flatMap(({ matchProbability }, other) =>
        captions[other] === captions[index] ? [] : [matchProbability ?? NaN],
      );
      if (others.every((probability) => probability < own)) right++;
    }
    assert.ok(right >= photos.length * 0.75, `${right} of ${photos.length}`);
  });

  it('never writes an avoided word', async () => {
    const plain = await captionFirst({});
    const avoided = new Set(wordsOf(plain).filter((word) => word !== 'a' && word !== 'the'));
    assert.ok(avoided.size > 0);
    const avoiding = await captionFirst({ avoidWords: [...avoided] });
    for (const word of wordsOf(avoiding)) assert.ok(!avoided.has(word), word);
    // Avoiding a singular avoids its plural, in every image.
    const avoidWords = ['dog', 'man', 'person', 'child', 'boy'];
    const plurals = new Set([...avoidWords, 'dogs', 'men', 'people', 'children', 'boys']);
    const all = await captionAll(photos.map((pixels) => itemOf(pixels, manifest, { avoidWords })));
    for (const word of all.flatMap(wordsOf)) assert.ok(!plurals.has(word), word);
  });

  it("detects a client's own concepts alone, and they change captions", async () => {
    const concepts = ['bicycle', 'motorcycle', 'race', 'helmet', 'puppy', 'frisbee'];
    const plain = await captionAll(photos.map((pixels) => itemOf(pixels, manifest)));
    const own = await captionAll(photos.map((pixels) => itemOf(pixels, manifest, { concepts })));
    for (const { concepts: found } of own) assert.ok(found.every(({ word }) => concepts.includes(word)));
    const changed = own.filter(
      ({ candidates }, index) =>
        candidates.map(({ text }) => text).join() !== plain[index]?.candidates.map(({ text }) => text).join(),
    );
    assert.ok(changed.length > 0);
  });

  it("ranks the concept that the images show first among a client's own", async () => {
    const concepts = ['piano', 'snowman', 'surfer', 'tractor', 'giraffe'];
    const surfers = await photoPixels(8, manifest.image, /\bsurf(?:er|ing|board)/i);
    const outcomes = await captionAll(surfers.map((pixels) => itemOf(pixels, manifest, { concepts })));
    const right = outcomes.filter(({ concepts: [first] }) => first?.word === 'surfer').length;
    if (arePhotosReal) assert.ok(right >= 6, `${right} of ${outcomes.length}`);
    for (const { concepts: found } of outcomes) assert.ok(found.every(({ word }) => concepts.includes(word)));
  });

  it("writes a client's concept when the image shows it, and never one that it does not show", async () => {
    const shown = { guitar: /guitar/i, mountain: /mountain/i, beach: /beach/i, bicycle: /bicycle/i };
    let before = 0;
    let after = 0;
    for (const [word, showing] of Object.entries(shown)) {
      const pictures = await photoPixels(10, manifest.image, showing);
      const concepts = [word, 'giraffe', 'piano'];
      const plain = await captionAll(pictures.map((pixels) => itemOf(pixels, manifest)));
      const own = await captionAll(pictures.map((pixels) => itemOf(pixels, manifest, { concepts })));
      const writing = (outcomes: readonly CaptionOutcome[]): number =>
        outcomes.filter(({ candidates: [best] }) => best?.text.toLowerCase().includes(word)).length;
      before += writing(plain);
      after += writing(own);
      assert.ok(!own.flatMap(wordsOf).some((each) => each === 'giraffe' || each === 'piano'));
    }
    if (arePhotosReal) assert.ok(after >= before + 4, `${after}, and ${before} without`);
  });

  it('names no gender in a gender-neutral caption', async () => {
    const items = photos.map((pixels) => itemOf(pixels, manifest, { genderNeutral: true }));
    const gendered = new Set<string>(genderedWords);
    for (const word of (await captionAll(items)).flatMap(wordsOf)) assert.ok(!gendered.has(word), word);
  });

  it('writes no caption longer than requested', async () => {
    const { candidates } = await captionFirst({ maxLength: 4 });
    for (const { text } of candidates) assert.ok(text.split(' ').length <= 4);
  });

  it("detects a client's own concepts, few or many, alone or with the bundle's", async () => {
    const few = await captionFirst({ concepts: ['astronaut', 'Eiffel Tower'] });
    assert.deepEqual(new Set(few.concepts.map(({ word }) => word)), new Set(['astronaut', 'Eiffel Tower']));
    const many = Array.from({ length: 100 }, (_, index) => `thing number ${index}`);
    for (const { word } of (await captionFirst({ concepts: many })).concepts) assert.ok(many.includes(word));
    const extended = await captionFirst({ concepts: many, conceptsMode: 'extend' });
    assert.equal(extended.concepts.length, manifest.concepts.k);
  });

  it('explains its concepts patch by patch', async () => {
    const { concepts, gridSize } = await captionFirst({ explain: true });
    assert.deepEqual(gridSize, manifest.grid);
    for (const { patches } of concepts) {
      assert.equal(patches?.length, manifest.grid.rows * manifest.grid.columns);
      assert.ok(patches.every((cosine) => Math.abs(cosine) <= 1 + 1e-5));
    }
  });

  it('gives one candidate for each distinct beam', async () => {
    const { candidates } = await captionFirst({ beamSize: 10, candidates: 10 });
    assert.ok(candidates.length > 3 && candidates.length <= 10);
    assert.equal(new Set(candidates.map(({ text }) => text)).size, candidates.length);
  });
});

describe('the embedded bundle, in each precision that a CPU takes,', async () => {
  const manifest = await readDefaultManifest();
  // Drawings are much alike.
  const photos = await photoPixels(arePhotosReal ? 64 : 32, manifest.image);
  /** Options that images of one batch may have. The beam size is not among them, because a batch has only one. */
  const unlike: readonly Partial<ModelOptions>[] = [
    {},
    { maxLength: 6 },
    { concepts: ['dog', 'car', 'beach', 'tree', 'ball'] },
    { genderNeutral: true },
    { avoidWords: ['man', 'dog', 'water'] },
    { concepts: ['lighthouse', 'puppy'], conceptsMode: 'extend' },
    { explain: true },
  ];
  for (const precision of Object.keys(manifest.precisions)) {
    it(`gives an image the same captions alone and in any batch: ${precision}`, async () => {
      const pipeline = await loadPipeline(loadCommand(precision));
      const items = photos.map((pixels, index) => itemOf(pixels, manifest, unlike[index % unlike.length]));
      const alone: CaptionOutcome[] = [];
      for (const item of items) alone.push(...(await outcomesOf(pipeline, [item])));
      for (const size of [2, 4, 8, 16, 32]) {
        for (let start = 0; start < items.length; start += size) {
          const batch = await outcomesOf(pipeline, items.slice(start, start + size));
          for (const [index, { candidates, concepts }] of batch.entries()) {
            const expected = alone[start + index];
            assert.ok(expected);
            assert.deepEqual(
              candidates.map(({ text }) => text),
              expected.candidates.map(({ text }) => text),
            );
            assert.deepEqual(
              concepts.map(({ word }) => word),
              expected.concepts.map(({ word }) => word),
            );
            for (const [rank, { logProb, confidence, clipScore }] of candidates.entries()) {
              const other = expected.candidates[rank];
              assert.ok(other);
              assert.ok(Math.abs(logProb - other.logProb) <= 1e-3);
              assert.ok(Math.abs(confidence - other.confidence) <= 1e-3);
              assert.ok(Math.abs(clipScore - other.clipScore) <= 1e-3);
            }
          }
        }
      }
    });
  }
});

async function outcomesOf(
  { captionBatch }: LoadedPipeline,
  items: readonly CaptionItem[],
): Promise<CaptionOutcome[]> {
  return (await captionBatch(items)).map((answer) => {
    assert.ok(answer.ok, JSON.stringify(answer));
    return answer.outcome;
  });
}
