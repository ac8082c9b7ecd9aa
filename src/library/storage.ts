/**
 * Images and results by name, in folders and in S3: the part that the command line and jobs share.
 *
 *     for await (const { name, bytes } of listImages('s3://album/2024/')) …   // or a folder; lazily, sorted
 *     const image = await readObject(name, { maxBytes, signal });             // a Buffer
 *     await writeObject('s3://results/job-1/part-00001.ndjson', lines);        // whole or not at all, replaced
 *
 * A name is a path, or `s3://bucket/key`. S3 takes its settings from the environment, as all programs of AWS do
 * (AWS_REGION, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3 for another server …). Every function throws ServiceError with one of
 * not_found | forbidden | body_too_large | storage_unavailable; the last one may pass by itself, the others do not.
 */
import { extname } from 'node:path';
import { ServiceError } from '../errors.js';
import * as files from './files.js';
import * as s3 from './s3.js';
import { isS3Name } from './s3.js';
import type { ReadOptions, StoredObject } from './stored-object.js';

/** Formats that are taken, and HEIC: photos in a folder that cannot be read are named, not left out in silence. */
const imageNames = /^\.(jpe?g|jpe|jfif|png|webp|gif|avif|tiff?|hei[cf])$/i;

export function isImageName(name: string): boolean {
  return imageNames.test(extname(name));
}

/**
 * All objects below a folder or a prefix in order of their names; what is hidden (`.name`) is left out. A folder below that
 * cannot be read is one entry with its problem.
 */
export function listObjects(source: string, signal?: AbortSignal): AsyncGenerator<StoredObject, void> {
  return isS3Name(source) ? s3.listObjects(source, signal) : files.listObjects(source, signal);
}

/** The objects that are images by their names. */
export async function* listImages(source: string, signal?: AbortSignal): AsyncGenerator<StoredObject, void> {
  for await (const object of listObjects(source, signal)) {
    if (object.problem !== undefined || isImageName(object.name)) yield object;
  }
}

export function readObject(name: string, options: ReadOptions): Promise<Buffer> {
  return isS3Name(name) ? s3.readObject(name, options) : files.readObject(name, options);
}

/** The content of an object, or undefined when there is none. */
export async function readIfThere(name: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    return await readObject(name, { maxBytes });
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'not_found') return undefined;
    throw error;
  }
}

/** Writes an object whole, in place of one of the same name; whoever reads meanwhile sees the one or the other. */
export function writeObject(name: string, content: string | Buffer): Promise<void> {
  return isS3Name(name) ? s3.writeObject(name, content) : files.writeObject(name, content);
}
