import { createLimit } from './limit.js';

/** Longest side of a preview in pixels, sharp on dense screens: 5 MB for a card, and for a tile little enough for hundreds. */
export const previewSides = { card: 1280, tile: 480 } as const;

/** A photo of twelve megapixels is 48 MB while it is decoded. */
const decoding = createLimit(2);

/**
 * Draws a file onto a canvas, upright; an animation gives its first frame, as it does to the model. Not an `<img>`: its
 * `blob:` address would need a wider content security policy.
 *
 * @param maxSide of the canvas, in pixels
 * @returns whether the browser could read it
 */
export async function drawPreview(file: File, canvas: HTMLCanvasElement, maxSide: number): Promise<boolean> {
  return decoding(async () => {
    let bitmap: ImageBitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      return false;
    }
    const scale = Math.min(1, maxSide / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = canvas.getContext('2d');
    if (context !== null) {
      context.imageSmoothingQuality = 'high';
      context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    }
    bitmap.close();
    return true;
  });
}
