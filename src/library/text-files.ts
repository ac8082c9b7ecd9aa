import { decodeUtf8, type MetadataStore } from './photo-metadata.js';
import { readIfThere, writeObject } from './storage.js';

/** A text of this size is not a caption. */
const maxBytes = 1024 * 1024;

/** `photo.txt` beside `photo.jpg`: the caption alone, as programs that train on photos read it. */
export const textFiles: MetadataStore = {
  fields: ['description'],

  async read(name) {
    const bytes = await readIfThere(fileOf(name), maxBytes);
    return { description: bytes === undefined ? '' : decodeUtf8(bytes).trimEnd(), subjects: [], altText: '' };
  },

  async write(name, { description }) {
    await writeObject(fileOf(name), `${description}\n`);
  },

  close: () => Promise.resolve(),
};

function fileOf(photo: string): string {
  return `${photo.replace(/\.[^./]+$/, '')}.txt`;
}
