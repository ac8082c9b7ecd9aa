import type { MetadataStore } from './photo-metadata.js';
import { readIfThere, writeObject } from './storage.js';

/** A text of this size is not a caption. */
const maxBytes = 1024 * 1024;

/** `photo.txt` beside `photo.jpg`: the caption alone, as programs that train on photos read it. */
export const textFiles: MetadataStore = {
  fields: ['description'],

  async read(name) {
    const text = (await readIfThere(fileOf(name), maxBytes))?.toString('utf8') ?? '';
    return { description: text.trimEnd(), subjects: [], altText: '' };
  },

  async write(name, { description }) {
    await writeObject(fileOf(name), `${description}\n`);
  },

  close: () => Promise.resolve(),
};

function fileOf(photo: string): string {
  return `${photo.replace(/\.[^./]+$/, '')}.txt`;
}
