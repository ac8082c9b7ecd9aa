import assert from 'node:assert/strict';
import { rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  readBundleFile,
  readConceptWords,
  readFacts,
  readManifest,
  readRows,
  readStems,
  readVocabulary,
  verifyFiles,
} from '../../src/inference/bundle.js';
import { BundleError, type BundleManifest, parseManifest } from '../../src/inference/manifest.js';
import { writeExampleBundle } from './example-bundle.js';

function refuses(promise: Promise<unknown>, message: RegExp): Promise<void> {
  return assert.rejects(promise, (error) => error instanceof BundleError && message.test(error.message));
}

describe('a bundle', () => {
  it('is read when its files match its manifest', async () => {
    const folder = await writeExampleBundle();
    const manifest = await readManifest(folder);
    await verifyFiles(folder, manifest);
    assert.equal(manifest.id, 'example');
    assert.deepEqual((await readFacts(folder, manifest)).conceptWords, ['dog', 'cat', 'tree']);
    assert.deepEqual(await readVocabulary(folder, manifest), ['', 'a', 'dog', 'dogs', 'UNK']);
    const rows = await readRows(folder, manifest, 'concepts.f32', { count: 3, width: 2 });
    assert.deepEqual([...rows.data.subarray(0, 4)], [1, 0, 0, 1]);
  });

  it('has the same digest exactly when its manifest has the same bytes', async () => {
    const digestOf = async (folder: string) => (await readManifest(folder)).digest;
    const digest = await digestOf(await writeExampleBundle());
    assert.match(digest, /^[0-9a-f]{64}$/);
    assert.equal(await digestOf(await writeExampleBundle()), digest);
    assert.notEqual(
      await digestOf(await writeExampleBundle((manifest) => ({ ...manifest, id: 'other' }))),
      digest,
    );
  });

  it('is refused when one byte of a file was changed, and the file is named', async () => {
    const folder = await writeExampleBundle();
    const manifest = await readManifest(folder);
    await writeFile(join(folder, 'decoder.w8.onnx'), 'Decoder');
    await readManifest(folder); // This passes because the size is the same.
    await refuses(verifyFiles(folder, manifest), /^decoder\.w8\.onnx differs/);
    await refuses(readBundleFile(folder, manifest, 'decoder.w8.onnx'), /^decoder\.w8\.onnx differs/);
  });

  it('is refused when a file is missing or has another size, and the file is named', async () => {
    const folder = await writeExampleBundle();
    await writeFile(join(folder, 'text.onnx'), 'longer than it was');
    await refuses(readManifest(folder), /^text\.onnx has 18 bytes where bundle\.json says 12/);
    await rm(join(folder, 'text.onnx'));
    await refuses(readManifest(folder), /^text\.onnx is missing/);
  });

  it('is refused without a manifest, and with one that is not JSON', async () => {
    const folder = await writeExampleBundle();
    await writeFile(join(folder, 'bundle.json'), '{ "formatVersion": 1,');
    await refuses(readManifest(folder), /^bundle\.json is not valid JSON/);
    await rm(join(folder, 'bundle.json'));
    await refuses(readManifest(folder), /^bundle\.json cannot be read/);
  });

  it('may consist of symbolic links, as in model caches', async () => {
    const folder = await writeExampleBundle();
    await rm(join(folder, 'text.onnx'));
    const other = await writeExampleBundle();
    await symlink(join(other, 'text.onnx'), join(folder, 'text.onnx'));
    await verifyFiles(folder, await readManifest(folder));
  });

  const wrongManifests: Record<string, [(manifest: BundleManifest) => unknown, RegExp]> = {
    'a path that leaves the folder': [
      (manifest) => ({ ...manifest, vocabulary: '../vocabulary.txt' }),
      /\/vocabulary/,
    ],
    'an absolute path': [(manifest) => ({ ...manifest, vocabulary: '/etc/passwd' }), /\/vocabulary/],
    'a listed file that leaves the folder': [
      (manifest) => ({
        ...manifest,
        files: { ...manifest.files, 'a/../../b': { bytes: 1, sha256: 'a'.repeat(64) } },
      }),
      /^bundle\.json: \/files/,
    ],
    'a file without a hash': [
      (manifest) => ({ ...manifest, vocabulary: 'other.txt' }),
      /\/files does not list other\.txt/,
    ],
    'another format version': [(manifest) => ({ ...manifest, formatVersion: 2 }), /format version 1/],
    'an unknown member': [
      (manifest) => ({ ...manifest, colour: 'blue' }),
      /^bundle\.json: \/colour is not known/,
    ],
    'a missing member': [(manifest) => ({ ...manifest, id: undefined }), /required properties id/],
    'an unknown feature in its calibration': [
      (manifest) => ({
        ...manifest,
        calibration: {
          ...manifest.calibration,
          confidence: { ...manifest.calibration.confidence, features: ['cosine', 'mood'] },
        },
      }),
      /\/calibration\/confidence\/features\/1 .*cosine/,
    ],
    'a feature in its match probability that only captions have': [
      (manifest) => ({
        ...manifest,
        calibration: { ...manifest.calibration, matchProbability: manifest.calibration.confidence },
      }),
      /\/calibration\/matchProbability\/features\/1 .*familiarity/,
    ],
    'a calibration with too few numbers': [
      (manifest) => ({
        ...manifest,
        calibration: {
          ...manifest.calibration,
          confidence: { ...manifest.calibration.confidence, scale: [1] },
        },
      }),
      /\/calibration\/confidence\/scale has 1 numbers for 2 features/,
    ],
    'no precision': [(manifest) => ({ ...manifest, precisions: {} }), /\/precisions is empty/],
  };
  for (const [what, [change, message]] of Object.entries(wrongManifests)) {
    it(`is refused with ${what}`, async () => {
      await refuses(readManifest(await writeExampleBundle(change)), message);
    });
  }

  it('is refused when a table does not match its dimensions', async () => {
    const folder = await writeExampleBundle((manifest) => ({
      ...manifest,
      dimensions: { ...manifest.dimensions, vocabulary: 7 },
    }));
    const manifest = await readManifest(folder);
    await refuses(readVocabulary(folder, manifest), /^vocabulary\.txt has 4 words where 6 are expected/);
    await refuses(
      readRows(folder, manifest, 'concepts.f32', { count: 4, width: 2 }),
      /^concepts\.f32 has 24 bytes where 4 × 2 float32/,
    );
  });

  it('has a stem for each word of its vocabulary that a caption should not say twice', async () => {
    const folder = await writeExampleBundle();
    const manifest = await readManifest(folder);
    const words = await readVocabulary(folder, manifest);
    const expected = [
      ['dog', 'dog'],
      ['dogs', 'dog'],
    ];
    assert.deepEqual([...(await readStems(folder, manifest, 'stems.txt', words))], expected);
    const more = [...words, 'cat'];
    await refuses(readStems(folder, manifest, 'stems.txt', more), /^stems\.txt has 4 lines for 5 words/);
  });

  it('is refused when a blocked word is not in its vocabulary', async () => {
    const folder = await writeExampleBundle((manifest) => ({
      ...manifest,
      decoding: { ...manifest.decoding, blockedWords: ['unk'] },
    }));
    await refuses(readVocabulary(folder, await readManifest(folder)), /blockedWords: unk/);
  });

  it('is refused when its concepts are not a list of words', async () => {
    const folder = await writeExampleBundle();
    const manifest = await readManifest(folder);
    await refuses(
      readConceptWords(folder, { ...manifest, concepts: { ...manifest.concepts, words: 'tokenizer.json' } }),
      /^tokenizer\.json is not a JSON array/,
    );
  });

  it('is refused when its manifest is an array', () => {
    assert.throws(() => parseManifest('[]'), BundleError);
  });
});
