import { fileURLToPath } from 'node:url';
import { readManifest } from '../../src/inference/bundle.js';
import type { BundleManifest } from '../../src/inference/manifest.js';
import type { CaptionItem, ModelOptions, LoadCommand } from '../../src/inference/messages.js';

/** The embedded bundle. */
export const defaultBundle = fileURLToPath(new URL('../../../models/default', import.meta.url));

export function loadCommand(precision: string): LoadCommand {
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

/** Makes an item with the bundle's default options, changed by `options`. */
export function itemOf(
  pixels: Uint8Array,
  { decoding }: BundleManifest,
  options: Partial<ModelOptions> = {},
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
      minTagProbability: 0.5,
      maxTags: 20,
      explain: false,
      ...options,
    },
  };
}
