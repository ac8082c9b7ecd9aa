import type { CaptionResult } from '../captioner/results.js';

export type Grid = NonNullable<CaptionResult['gridSize']>;

/** How dark the photo gets where a concept is not, and how warm where it is, 0…1: a dark photo needs both. */
const veil = 0.78;
const glow = 0.3;
const glowColour = [255, 190, 70] as const;

/**
 * How brightly each patch is lit, 0…1: dark up to the mean, the best one full. Cosines are comparable within a
 * concept only, so the scale is its own.
 */
function brightness(cosines: readonly number[]): number[] {
  const mean = cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length;
  const best = Math.max(...cosines);
  return cosines.map((cosine) => (best > mean ? Math.max(0, (cosine - mean) / (best - mean)) : 0));
}

/**
 * Darkens what does not belong to a concept, so that its patches stay lit.
 *
 * @param canvas lies exactly over the photo
 * @param cosines row by row, as many as the grid has cells
 * @param resize whether the model saw the whole photo stretched, or its middle square
 */
export function lightPatches(
  canvas: HTMLCanvasElement,
  cosines: readonly number[],
  { rows, columns }: Grid,
  resize: 'stretch' | 'crop',
): void {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = Math.min(2, devicePixelRatio);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext('2d');
  if (context === null) return;
  const shorter = Math.min(width, height);
  const seen = resize === 'stretch' ? { width, height } : { width: shorter, height: shorter };
  context.scale(scale, scale);
  context.fillStyle = `rgb(8 9 12 / ${veil})`;
  context.fillRect(0, 0, width, height);
  context.translate((width - seen.width) / 2, (height - seen.height) / 2);
  context.globalCompositeOperation = 'destination-out';
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = 'high';
  const light = lights(brightness(cosines), rows, columns);
  context.drawImage(light, 0, 0, seen.width, seen.height);
  context.globalCompositeOperation = 'source-over';
  context.globalAlpha = glow;
  context.drawImage(light, 0, 0, seen.width, seen.height);
}

/** One pixel for each patch, opaque as far as it is lit. */
function lights(levels: readonly number[], rows: number, columns: number): OffscreenCanvas {
  const small = new OffscreenCanvas(columns, rows);
  const image = new ImageData(columns, rows);
  levels.forEach((level, index) => {
    image.data.set([...glowColour, Math.round(255 * level)], index * 4);
  });
  small.getContext('2d')?.putImageData(image, 0, 0);
  return small;
}

/** Where the best patch lies, for those who do not see it: "at the top left". */
export function placeOf(cosines: readonly number[], { rows, columns }: Grid): string {
  const best = cosines.indexOf(Math.max(...cosines));
  const third = (position: number, count: number): number => Math.floor((3 * (position + 0.5)) / count);
  const vertical = ['top', '', 'bottom'][third(Math.floor(best / columns), rows)] ?? '';
  const horizontal = ['left', '', 'right'][third(best % columns, columns)] ?? '';
  const place = [vertical, horizontal].filter((part) => part !== '').join(' ');
  return place === '' ? 'in the middle' : `at the ${place}`;
}
