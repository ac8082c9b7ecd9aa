import type { Region } from '../images/decode.js';
import type { CaptionResult } from './results.js';

export type { Region } from '../images/decode.js';

/** Regions of an image that seem to show something, by where the model found its concepts. */

export const wholeImage: Region = { left: 0, top: 0, width: 1, height: 1 };
/** Regions are proposed at most. */
export const maxRegions = 9;
/** A patch belongs to a concept from this share of the way from the concept's median patch to its best one. */
const minShareOfPeak = 0.5;
/** Of the sides of the image: the model sees little in less, and more is the image itself. */
const minSide = 1 / 4;
const maxArea = 3 / 4;
/** Two regions that overlap more than this (intersection over union) are one. */
const maxOverlap = 0.6;
/** Regions with the same caption are one from this overlap on. */
const maxOverlapOfSame = 0.1;

type Concepts = CaptionResult['concepts'];
interface Grid {
  readonly rows: number;
  readonly columns: number;
}

/**
 * Proposes at most `maxRegions` regions: for each concept the connected patches around its best ones, the strongest first,
 * none that overlaps a stronger one by much.
 *
 * @param concepts with their `patches`, row by row
 */
export function proposeRegions(concepts: Concepts, grid: Grid): Region[] {
  const proposals = concepts.flatMap(({ patches = [] }) => regionsOf(patches, grid));
  proposals.sort((a, b) => b.strength - a.strength);
  const kept: Region[] = [];
  for (const { region } of proposals) {
    if (region.width * region.height > maxArea) continue;
    if (kept.every((other) => overlapOf(region, other) <= maxOverlap)) kept.push(region);
  }
  return kept.slice(0, maxRegions);
}

interface Proposal {
  readonly region: Region;
  /** How far the best patch stands out of the concept's median one, in cosines. */
  readonly strength: number;
}

/** A region for each group of neighbouring patches that stand out. */
function regionsOf(patches: readonly number[], { rows, columns }: Grid): Proposal[] {
  const sorted = [...patches].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const threshold = median + minShareOfPeak * ((sorted.at(-1) ?? 0) - median);
  const left = new Set(patches.flatMap((cosine, patch) => (cosine > threshold ? [patch] : [])));
  const proposals: Proposal[] = [];
  for (const start of left) {
    const group = takeGroup(start, left, columns);
    const xs = group.map((patch) => patch % columns);
    const ys = group.map((patch) => Math.floor(patch / columns));
    const [x, width] = widen(Math.min(...xs) / columns, (Math.max(...xs) + 1) / columns);
    const [y, height] = widen(Math.min(...ys) / rows, (Math.max(...ys) + 1) / rows);
    const best = Math.max(...group.map((patch) => patches[patch] ?? 0));
    proposals.push({ region: { left: x, top: y, width, height }, strength: best - median });
  }
  return proposals;
}

/** Takes the patches that are connected with one, by their sides, out of those that are left. */
function takeGroup(start: number, left: Set<number>, columns: number): number[] {
  const group = [start];
  left.delete(start);
  for (const patch of group) {
    const column = patch % columns;
    const neighbours = [
      patch - columns,
      patch + columns,
      ...(column > 0 ? [patch - 1] : []),
      ...(column < columns - 1 ? [patch + 1] : []),
    ];
    for (const neighbour of neighbours) if (left.delete(neighbour)) group.push(neighbour);
  }
  return group;
}

/** Start and length of a range that is at least `minSide` long, around the same middle where the image allows. */
function widen(from: number, to: number): [start: number, length: number] {
  const length = Math.max(minSide, to - from);
  const start = Math.min(Math.max(0, (from + to - length) / 2), 1 - length);
  return [start, length];
}

interface RegionCaption {
  readonly region: Region;
  readonly result: Pick<CaptionResult, 'captions' | 'confidence'>;
}

/** Most confident first, without regions that have the caption of a more confident one they overlap. */
export function dropDuplicates<T extends RegionCaption>(captioned: readonly T[]): T[] {
  const kept: T[] = [];
  for (const each of [...captioned].sort((a, b) => b.result.confidence - a.result.confidence)) {
    const text = each.result.captions[0]?.text;
    const isDuplicate = kept.some(
      ({ region, result }) =>
        result.captions[0]?.text === text && overlapOf(region, each.region) > maxOverlapOfSame,
    );
    if (!isDuplicate) kept.push(each);
  }
  return kept;
}

/** Intersection over union. */
function overlapOf(a: Region, b: Region): number {
  const width = Math.min(a.left + a.width, b.left + b.width) - Math.max(a.left, b.left);
  const height = Math.min(a.top + a.height, b.top + b.height) - Math.max(a.top, b.top);
  const both = Math.max(0, width) * Math.max(0, height);
  return both / (a.width * a.height + b.width * b.height - both);
}
