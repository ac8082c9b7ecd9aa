import { decodeUtf8, metadataUnreadable, type MetadataStore } from './photo-metadata.js';
import { readIfThere, writeObject } from './storage.js';
import { XmpError, XmpPacket } from './xmp.js';

/** Sidecars of programs that develop photos hold their history; more than this is no sidecar. */
const maxBytes = 64 * 1024 * 1024;
const extension = /\.[^./]+$/;

interface Sidecar {
  readonly name: string;
  /** Absent where there is no such file yet. */
  readonly text?: string;
}

/**
 * XMP files beside the photos: `photo.jpg.xmp`, which digiKam, darktable and PhotoPrism take, or `photo.xmp` where another
 * program has written that. A new one repeats what the photo itself says, which it would hide otherwise.
 */
export const sidecars: MetadataStore = {
  fields: ['description', 'subjects', 'altText'],

  async read(name, bytes) {
    const { text } = await findSidecar(name);
    const inFile = XmpPacket.findIn(bytes)?.metadata;
    if (text === undefined) return inFile ?? new XmpPacket().metadata;
    return parse(text).metadata;
  },

  async write(name, metadata) {
    const { name: file, text } = await findSidecar(name);
    const packet = parse(text);
    packet.metadata = metadata;
    await writeObject(file, packet.toString());
  },

  close: () => Promise.resolve(),
};

async function findSidecar(photo: string): Promise<Sidecar> {
  const full = `${photo}.xmp`;
  const short = extension.test(photo) ? [photo.replace(extension, '.xmp')] : [];
  for (const name of [full, ...short]) {
    const bytes = await readIfThere(name, maxBytes);
    if (bytes !== undefined) return { name, text: decodeUtf8(bytes) };
  }
  return { name: full };
}

function parse(text: string | undefined): XmpPacket {
  try {
    return new XmpPacket(text);
  } catch (error) {
    throw error instanceof XmpError
      ? metadataUnreadable(`The sidecar is not taken: ${error.message}`)
      : error;
  }
}
