import { listImages, readObject } from '../library/storage.js';
import { isWebAddress, type Locations } from './locations.js';
import type { JobSource } from './job.js';

/** A manifest of some million names. */
const maxManifestBytes = 512 * 1024 * 1024;
const newline = 0x0a;

/**
 * The names of a job's images in order, one after the other: a bucket may have millions.
 *
 * @throws ServiceError forbidden | not_found | storage_unavailable | body_too_large
 */
export async function* listJobImages(source: JobSource, locations: Locations): AsyncGenerator<string> {
  if ('prefix' in source) {
    yield* imagesBelow(source.prefix);
    return;
  }
  for await (const entry of 'urls' in source ? source.urls : linesOfManifest(source.manifest)) {
    if (isWebAddress(entry)) yield entry;
    else if (entry.endsWith('/')) yield* imagesBelow(entry);
    else yield await locations.resolve(entry);
  }

  async function* imagesBelow(prefix: string): AsyncGenerator<string> {
    // S3 takes a prefix as a text: album/2024 would list album/2024-private/, too.
    const folder = await locations.resolve(prefix.endsWith('/') ? prefix : `${prefix}/`);
    for await (const { name } of listImages(folder)) yield name;
  }

  async function* linesOfManifest(name: string): AsyncGenerator<string> {
    const text = await readObject(await locations.resolve(name), { maxBytes: maxManifestBytes });
    for (let start = 0; start < text.length;) {
      const found = text.indexOf(newline, start);
      const end = found === -1 ? text.length : found;
      const line = text.toString('utf8', start, end).trim();
      if (line !== '') yield line;
      start = end + 1;
    }
  }
}
