import assert from 'node:assert/strict';
import { test } from 'node:test';
import { genderedWords } from '../../src/inference/gendered-words.js';
import { loadPipeline } from '../../src/inference/load-pipeline.js';
import { itemOf, loadCommand, readDefaultManifest } from './default-bundle.js';
import { arePhotosReal, photoPixels } from './photos.js';
import { choosePrecision } from '../../src/inference/bundle.js';

/** The gendered words that people use in captions of these photos. */
const people = /\b(?:m[ae]n|wom[ae]n|boys?|girls?|lad(?:y|ies)|guys?|(?:fire|police|business)m[ae]n)\b/i;

/** Mistakes that no English sentence has. */
const broken: Readonly<Record<string, RegExp>> = {
  'a word twice in a row': /\b(\w+) \1\b/i,
  'the wrong article': /\ba [aeio]|\ban [^aeiouh]/i,
  'a singular article with a plural': /\ban? (?:\w+ing )?(?:people|children)\b/i,
  'a number with a singular': /\b(?:two|three|four|many|several) (?:person|child)\b/i,
  'a plural with a singular verb': /\b(?:they|people|children) (?:is|was|has)\b/i,
  'a singular with a plural verb': /^(?:a|the) (?:young |little )?(?:person|child) (?:are|were|have)\b/i,
  'an article at the end': /\b(?:a|an|the|of|and)$/i,
};

/** Captions of drawings are much alike. */
const count = arePhotosReal ? 200 : 40;

test('gender-neutral captions of photos of people name no gender and stay grammatical', async () => {
  const manifest = await readDefaultManifest();
  const pipeline = await loadPipeline(loadCommand(choosePrecision(manifest, 'cpu')));
  const photos = await photoPixels(count, manifest.image, people);
  assert.equal(photos.length, count);
  const gendered = new Set<string>(genderedWords);
  let persons = 0;
  for (let first = 0; first < photos.length; first += 4) {
    const items = photos.slice(first, first + 4).map((pixels) => {
      return itemOf(pixels, manifest, { genderNeutral: true });
    });
    for (const answer of await pipeline.captionBatch(items)) {
      assert.ok(answer.ok, JSON.stringify(answer));
      const texts = answer.outcome.candidates.map(({ text }) => text);
      for (const text of texts) {
        assert.doesNotMatch(text, people);
        for (const word of text.toLowerCase().split(/[ '-]/)) assert.ok(!gendered.has(word), text);
      }
      const [best = ''] = texts;
      if (!arePhotosReal) continue; // Of drawings, the model writes "red red" without the option too.
      for (const [fault, pattern] of Object.entries(broken)) assert.doesNotMatch(best, pattern, fault);
      if (/\b(?:person|people|child|children|player|players|baby|crowd)\b/i.test(best)) persons++;
    }
  }
  if (arePhotosReal) assert.ok(persons >= 180, `${persons} of 200 mention a person`);
});
