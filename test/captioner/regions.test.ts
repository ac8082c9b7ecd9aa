import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dropDuplicates, maxRegions, proposeRegions } from '../../src/captioner/regions.js';
import type { CaptionResult } from '../../src/captioner/results.js';
import type { Region } from '../../src/images/decode.js';

const grid = { rows: 4, columns: 4 };
/** A concept that stands out in some patches of the grid, by their numbers. */
const concept = (word: string, peaks: readonly number[], cosine = 0.5) => ({
  word,
  share: 0.1,
  score: 0.1,
  patches: Array.from({ length: 16 }, (_, patch) => (peaks.includes(patch) ? cosine : 0)),
});

describe('regions', () => {
  it('are around the patches in which a concept stands out, a group of neighbours each', () => {
    assert.deepEqual(proposeRegions([concept('dog', [0, 1, 5, 15])], grid), [
      { left: 0, top: 0, width: 0.5, height: 0.5 },
      { left: 0.75, top: 0.75, width: 0.25, height: 0.25 },
    ]);
  });

  it('do not join patches across the edge of the image', () => {
    assert.equal(proposeRegions([concept('dog', [3, 4])], grid).length, 2);
  });

  it('that overlap by much are one, that where a concept stands out most', () => {
    const found = proposeRegions([concept('dog', [0, 1], 0.3), concept('puppy', [0, 1], 0.9)], grid);
    assert.deepEqual(found, [{ left: 0, top: 0, width: 0.5, height: 0.25 }]);
  });

  it('are not the image itself, and there are not more than allowed', () => {
    assert.deepEqual(proposeRegions([concept('sky', [0, 3, 15])], grid).length, 3);
    const everywhere = {
      ...concept('sky', []),
      patches: Array.from({ length: 16 }, (_, n) => (n === 15 ? 0.4 : 0.5)),
    };
    assert.deepEqual(proposeRegions([everywhere], grid), []);
    const large = { rows: 9, columns: 9 };
    const dotted = {
      word: 'dot',
      share: 1,
      score: 1,
      patches: Array.from({ length: 81 }, (_, patch) =>
        patch % 2 === 0 && Math.floor(patch / 9) % 2 === 0 ? 1 : 0,
      ),
    };
    const regions = proposeRegions([dotted], large);
    assert.ok(regions.length <= maxRegions);
    for (const { left, top, width, height } of regions) {
      assert.ok(left >= 0 && top >= 0 && left + width <= 1 && top + height <= 1);
      assert.ok(width >= 0.25 && height >= 0.25);
    }
  });

  it('with the caption of a more confident one that they overlap are dropped', () => {
    const said = (region: Region, text: string, confidence: number) => {
      const result: Pick<CaptionResult, 'captions' | 'confidence'> = {
        confidence,
        captions: [{ text, confidence, clipScore: 1, logProb: -1, meanLogProb: -1 }],
      };
      return { region, result };
    };
    const left = { left: 0, top: 0, width: 0.5, height: 0.5 };
    const shifted = { ...left, left: 0.25 };
    const far = { ...left, left: 0.5, top: 0.5 };
    const kept = dropDuplicates([
      said(shifted, 'A dog', 0.4),
      said(left, 'A dog', 0.6),
      said(far, 'A dog', 0.5),
    ]);
    assert.deepEqual(
      kept.map(({ region }) => region),
      [left, far],
    );
  });
});
