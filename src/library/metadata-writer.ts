import { createEmbeddedStore } from './embedded-metadata.js';
import {
  type ExistingMode,
  isSameMetadata,
  mergeMetadata,
  type MetadataStore,
  type PhotoMetadata,
  type WriteTarget,
} from './photo-metadata.js';
import { sidecars } from './sidecars.js';
import { textFiles } from './text-files.js';

export interface MetadataWriter {
  /** Whether nothing would be written, whatever the model says. */
  isComplete(name: string, bytes: Buffer): Promise<boolean>;
  /** Adds the words to those of the photo; resolves with whether anything has changed. */
  add(name: string, bytes: Buffer, added: PhotoMetadata): Promise<boolean>;
  close(): Promise<void>;
}

/** @throws ServiceError metadata_unreadable when ExifTool is needed and does not run */
export async function createMetadataWriter(target: WriteTarget, mode: ExistingMode): Promise<MetadataWriter> {
  const store = await storeOf(target);
  return {
    async isComplete(name, bytes) {
      if (mode !== 'skip') return false;
      const existing = await store.read(name, bytes);
      return store.fields.every((field) => existing[field].length > 0);
    },
    async add(name, bytes, added) {
      const existing = await store.read(name, bytes);
      const merged = mergeMetadata(existing, added, mode);
      if (isSameMetadata(existing, merged, store.fields)) return false;
      await store.write(name, merged, bytes);
      return true;
    },
    close: () => store.close(),
  };
}

async function storeOf(target: WriteTarget): Promise<MetadataStore> {
  switch (target) {
    case 'xmp':
      return sidecars;
    case 'txt':
      return textFiles;
    case 'embed':
      return createEmbeddedStore();
  }
}
