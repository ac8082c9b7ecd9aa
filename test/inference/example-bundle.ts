import { createHash } from 'node:crypto';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BundleFacts } from '../../src/inference/bundle.js';
import type { BundleManifest } from '../../src/inference/manifest.js';

/** A bundle with 2 × 2 patches, embeddings of length 2 and the words a, dog, dogs and UNK. */
export const exampleManifest: BundleManifest = {
  formatVersion: 1,
  id: 'example',
  version: '1.0.0',
  licence: 'MIT',
  description: 'A bundle for tests',
  sources: ['nowhere'],
  image: { width: 4, height: 2, resize: 'stretch', kernel: 'cubic' },
  grid: { rows: 2, columns: 2 },
  dimensions: { grid: 3, embedding: 2, memory: 2, memoryLength: 1, vocabulary: 5 },
  decoding: {
    beamSize: 2,
    maxLength: 6,
    lengthPenalty: 0,
    noRepeatNgram: 0,
    rerankWeight: 0,
    blockedWords: ['UNK'],
  },
  concepts: {
    words: 'concepts.json',
    embeddings: 'concepts.f32',
    prompts: ['a photo of a {}', 'one {}'],
    k: 2,
  },
  vocabulary: 'vocabulary.txt',
  tokenizer: { file: 'tokenizer.json', maxTokens: 8 },
  calibration: {
    confidence: {
      features: ['cosine', 'meanLogProb'],
      mean: [0.5, -1],
      scale: [0.1, 0.5],
      coefficients: [1, 2],
      intercept: 0.3,
      error: { ece: 0.03 },
    },
    imageCentroids: { file: 'image-centroids.f32', rows: 1 },
  },
  precisions: {
    w8: {
      encoder: 'encoder.w8.onnx',
      mixup: 'mixup.w8.onnx',
      decoder: 'decoder.w8.onnx',
      textEncoder: 'text.onnx',
    },
  },
  quality: { cider: 0.5 },
  files: {},
};

/** The example bundle's facts, as the scheduler has them. */
export const exampleFacts: BundleFacts = {
  ...exampleManifest,
  digest: 'digest of the example',
  conceptWords: ['dog', 'cat', 'tree'],
};

const exampleFiles: Readonly<Record<string, Uint8Array | string>> = {
  'concepts.json': '["dog","cat","tree"]',
  'concepts.f32': new Uint8Array(Float32Array.of(1, 0, 0, 1, 0.6, 0.8).buffer),
  'vocabulary.txt': 'a\ndog\ndogs\nUNK\n',
  'stems.txt': '\ndog\ndog\n\n',
  'tokenizer.json': '{}',
  'image-centroids.f32': new Uint8Array(Float32Array.of(1, 0).buffer),
  'encoder.w8.onnx': 'encoder',
  'mixup.w8.onnx': 'mixup',
  'decoder.w8.onnx': 'decoder',
  'text.onnx': 'text encoder',
};

/** Writes the example bundle to a new folder, with its manifest changed by `change`. */
export async function writeExampleBundle(
  change: (manifest: BundleManifest) => unknown = (manifest) => manifest,
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pcm-caption-bundle-'));
  const files: BundleManifest['files'] = {};
  for (const [name, content] of Object.entries(exampleFiles)) {
    const bytes = Buffer.from(content);
    await writeFile(join(folder, name), bytes);
    files[name] = { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
  }
  const manifest = change({ ...structuredClone(exampleManifest), files });
  await writeFile(join(folder, 'bundle.json'), JSON.stringify(manifest));
  return folder;
}
