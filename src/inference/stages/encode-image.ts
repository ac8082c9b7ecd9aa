import { Tensor } from 'onnxruntime-node';
import type { BundleManifest } from '../manifest.js';
import { checkShape, getOutput, type Graph, readFloats, type Rows } from '../tensors.js';

/** The features that the image encoder computes for a batch. */
export interface EncodedImages {
  /** Patch features: [B, N, D]. */
  readonly grid: Tensor;
  /** Patches in the embedding space that images and texts share: [B, N, E]. */
  readonly local: Tensor;
  /** Global embeddings, each of unit length: [B, E]. */
  readonly imageEmbedding: Tensor;
  /** The values of `imageEmbedding`, for cosines computed outside of a graph. */
  readonly embeddings: Rows;
}

export type EncodeImages = (pixels: readonly Uint8Array[]) => Promise<EncodedImages>;

/** The first stage: it turns pixels, each image [H, W, 3] of the bundle's size, into features. */
export function createImageEncoding(graph: Graph, manifest: BundleManifest): EncodeImages {
  const { image, grid, dimensions } = manifest;
  const imageBytes = image.width * image.height * 3;
  const patchCount = grid.rows * grid.columns;

  return async (pixels) => {
    const count = pixels.length;
    const batch = new Uint8Array(count * imageBytes);
    for (const [index, one] of pixels.entries()) batch.set(one, index * imageBytes);
    const outputs = await graph({
      pixels: new Tensor('uint8', batch, [count, image.height, image.width, 3]),
    });
    const encoded = {
      grid: getOutput(outputs, 'grid'),
      local: getOutput(outputs, 'local'),
      imageEmbedding: getOutput(outputs, 'image_embedding'),
    };
    checkShape('grid', encoded.grid, [count, patchCount, dimensions.grid]);
    checkShape('local', encoded.local, [count, patchCount, dimensions.embedding]);
    checkShape('image_embedding', encoded.imageEmbedding, [count, dimensions.embedding]);
    const embeddings = { data: readFloats(encoded.imageEmbedding), count, width: dimensions.embedding };
    return { ...encoded, embeddings };
  };
}
