import { fileURLToPath } from 'node:url';
import { readManifest } from '../../src/runtime/bundle.js';
import type { BundleManifest } from '../../src/runtime/bundle-manifest.js';
import type { CaptionItem, CaptionOptions, LoadOrder } from '../../src/runtime/messages.js';

/** The embedded bundle. */
export const defaultBundle = fileURLToPath(new URL('../../../models/default', import.meta.url));

export function loadOrder(precision: string): LoadOrder {
  return {
    type: 'load',
    bundlePath: defaultBundle,
    provider: 'cpu',
    gpuOnly: false,
    precision,
    device: 0,
    threads: 2,
    maxBatch: 2,
    conceptCacheSize: 100,
    heartbeatMs: 50,
  };
}

export function readDefaultManifest(): Promise<BundleManifest> {
  return readManifest(defaultBundle);
}

/** An image with the bundle's default options, changed by `options`. */
export function itemOf(
  pixels: Uint8Array,
  { decoding }: BundleManifest,
  options: Partial<CaptionOptions> = {},
): CaptionItem {
  return {
    kind: 'caption',
    pixels,
    options: {
      candidates: decoding.beamSize,
      beamSize: decoding.beamSize,
      maxLength: decoding.maxLength,
      concepts: [],
      conceptsMode: 'replace',
      avoidWords: [],
      genderNeutral: false,
      explain: false,
      ...options,
    },
  };
}
