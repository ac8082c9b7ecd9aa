import { Tensor } from 'onnxruntime-node';
import type { BundleManifest } from './bundle-manifest.js';
import { checkShape, floats, type Graph, output } from './tensors.js';
import type { Rows } from './vectors.js';

/** What the image encoder gives for a batch. */
export interface EncodedImages {
  /** [B, N, D] patch features */
  readonly grid: Tensor;
  /** [B, N, E] patches in the embedding space */
  readonly local: Tensor;
  /** [B, E] unit rows */
  readonly imageEmbedding: Tensor;
  /** The same rows as `imageEmbedding`, for cosines. */
  readonly embeddings: Rows;
}

export type EncodeImages = (pixels: readonly Uint8Array[]) => Promise<EncodedImages>;

/** The first stage: pixels, each [H, W, 3] of the bundle's image size, to features. */
export function createImageEncoding(graph: Graph, manifest: BundleManifest): EncodeImages {
  const { image, grid, dimensions } = manifest;
  const imageBytes = image.width * image.height * 3;
  const patches = grid.rows * grid.columns;
  return async (pixels) => {
    const count = pixels.length;
    const batch = new Uint8Array(count * imageBytes);
    for (const [index, one] of pixels.entries()) batch.set(one, index * imageBytes);
    const outputs = await graph({
      pixels: new Tensor('uint8', batch, [count, image.height, image.width, 3]),
    });
    const encoded = {
      grid: output(outputs, 'grid'),
      local: output(outputs, 'local'),
      imageEmbedding: output(outputs, 'image_embedding'),
    };
    checkShape('grid', encoded.grid, [count, patches, dimensions.grid]);
    checkShape('local', encoded.local, [count, patches, dimensions.embedding]);
    checkShape('image_embedding', encoded.imageEmbedding, [count, dimensions.embedding]);
    const embeddings = { data: floats(encoded.imageEmbedding), count, width: dimensions.embedding };
    return { ...encoded, embeddings };
  };
}
