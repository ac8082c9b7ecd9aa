import type { BundleManifest } from './bundle-manifest.js';

/** What others may know of a bundle: its manifest, and the words of its concept vocabulary. */
export interface BundleFacts extends BundleManifest {
  readonly conceptWords: readonly string[];
}
