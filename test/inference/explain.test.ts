import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { BundleManifest } from '../../src/inference/manifest.js';
import { type LoadedPipeline, loadPipeline } from '../../src/inference/load-pipeline.js';
import { itemOf, loadCommand, readDefaultManifest } from './default-bundle.js';
import { toPixels } from './photos.js';
import { choosePrecision } from '../../src/inference/bundle.js';

/** Drawings of things that the model recognises, around the origin and 56 units wide. */
const drawings = {
  clock: `<circle r="26" fill="white" stroke="#222" stroke-width="4"/>
    <path d="M0 0V-18M0 0 12 6M0-23V-18M0 23V18M23 0H18M-23 0H-18" stroke="#222" stroke-width="3"/>`,
  'stop sign': `<path d="M-10-25H10L25-10V10L10 25H-10L-25 10V-10Z" fill="#c1121f" stroke="white" stroke-width="3"/>
    <path d="M-14 0H14" stroke="white" stroke-width="9"/>`,
  umbrella: `<path d="M-26 0A26 26 0 0 1 26 0Z" fill="#d62828"/>
    <path d="M0 0V22q0 5 6 5" stroke="#333" stroke-width="3" fill="none"/>`,
  'traffic light': `<rect x="-10" y="-27" width="20" height="54" rx="4" fill="#222"/>
    <circle cy="-17" r="7" fill="#e33"/><circle r="7" fill="#fc3"/><circle cy="17" r="7" fill="#3c5"/>`,
} as const;

const quarters = ['top left', 'top right', 'bottom left', 'bottom right'] as const;

const things = ['clock', 'stop sign', 'umbrella', 'traffic light'] as const;

/** A thing in a quarter of a gray square. */
function picture(thing: keyof typeof drawings, quarter: number): Buffer {
  return drawAt(thing, quarter % 2 === 0 ? 56 : 168, quarter < 2 ? 56 : 168, 1.7);
}

function drawAt(thing: keyof typeof drawings, x: number, y: number, scale: number): Buffer {
  return Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="224" height="224">
    <rect width="224" height="224" fill="#9a9a9a"/>
    <g transform="translate(${x} ${y}) scale(${scale})">${drawings[thing]}</g>
  </svg>`);
}

describe('drawings of things', () => {
  let manifest: BundleManifest;
  let pipeline: LoadedPipeline;

  before(async () => {
    manifest = await readDefaultManifest();
    pipeline = await loadPipeline(loadCommand(choosePrecision(manifest, 'cpu')));
  });

  /** Finds the quarter of the patch with the largest cosine to the concept. */
  function findBrightest(patches: readonly number[]): string | undefined {
    const { rows, columns } = manifest.grid;
    const best = patches.indexOf(Math.max(...patches));
    const [row, column] = [Math.floor(best / columns), best % columns];
    return quarters[(row + 0.5 < rows / 2 ? 0 : 2) + (column + 0.5 < columns / 2 ? 0 : 1)];
  }

  for (const thing of things) {
    it(`of a ${thing} have its best patch where it is`, async () => {
      const pictures = await Promise.all(
        quarters.map((_, quarter) => toPixels(picture(thing, quarter), manifest.image)),
      );
      const options = { concepts: [thing], explain: true, beamSize: 1, candidates: 1 };
      const answers = await pipeline.captionBatch(
        pictures.map((pixels) => itemOf(pixels, manifest, options)),
      );
      const lit = answers.map((answer) => {
        assert.ok(answer.ok, JSON.stringify(answer));
        return findBrightest(answer.outcome.concepts[0]?.patches ?? []);
      });
      assert.deepEqual(lit, quarters);
    });
  }

  it('match the text that names what they show best', async () => {
    const texts = things.map((thing) => `A ${thing}`);
    const items = things.map(async (thing) => {
      const pixels = await toPixels(drawAt(thing, 112, 112, 3.4), manifest.image);
      return { kind: 'score' as const, pixels, texts };
    });
    const answers = await pipeline.scoreBatch(await Promise.all(items));
    const best = answers.map((answer) => {
      assert.ok(answer.ok, JSON.stringify(answer));
      const probabilities = answer.outcome.scores.map(({ matchProbability }) => matchProbability ?? NaN);
      return texts[probabilities.indexOf(Math.max(...probabilities))];
    });
    assert.deepEqual(best, texts);
  });
});
