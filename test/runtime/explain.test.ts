import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { BundleManifest } from '../../src/runtime/bundle-manifest.js';
import { type LoadedPipeline, loadPipeline } from '../../src/runtime/load.js';
import { choosePrecision } from '../../src/runtime/sessions.js';
import { itemOf, loadOrder, readDefaultManifest } from './default-bundle.js';
import { toPixels } from './photos.js';

/** Things drawn around the origin, 56 units wide, that the model knows when it sees them. */
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

function picture(thing: keyof typeof drawings, quarter: number): Buffer {
  const [x, y] = [quarter % 2 === 0 ? 56 : 168, quarter < 2 ? 56 : 168];
  return Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="224" height="224">
    <rect width="224" height="224" fill="#9a9a9a"/>
    <g transform="translate(${x} ${y}) scale(1.7)">${drawings[thing]}</g>
  </svg>`);
}

describe('explained concepts', () => {
  let manifest: BundleManifest;
  let pipeline: LoadedPipeline;

  before(async () => {
    manifest = await readDefaultManifest();
    pipeline = await loadPipeline(loadOrder(choosePrecision(manifest, 'cpu')));
  });

  /** The quarter in which the patch lies that is most like the concept. */
  function brightest(patches: readonly number[]): string | undefined {
    const { rows, columns } = manifest.grid;
    const best = patches.indexOf(Math.max(...patches));
    const [row, column] = [Math.floor(best / columns), best % columns];
    return quarters[(row + 0.5 < rows / 2 ? 0 : 2) + (column + 0.5 < columns / 2 ? 0 : 1)];
  }

  for (const thing of ['clock', 'stop sign', 'umbrella', 'traffic light'] as const) {
    it(`light up where a ${thing} is drawn, and not elsewhere`, async () => {
      const pictures = await Promise.all(
        quarters.map((_, quarter) => toPixels(picture(thing, quarter), manifest.image)),
      );
      const options = { concepts: [thing], explain: true, beamSize: 1, candidates: 1 };
      const answers = await pipeline.captionBatch(
        pictures.map((pixels) => itemOf(pixels, manifest, options)),
      );
      const lit = answers.map((answer) => {
        assert.ok(answer.ok, JSON.stringify(answer));
        return brightest(answer.outcome.concepts[0]?.patches ?? []);
      });
      assert.deepEqual(lit, quarters);
    });
  }
});
