import { inflateSync } from 'node:zlib';

/** Chunks that decoding needs (PNG, third edition); all others are text, times and other ancillary data. */
const wanted = new Set([
  'IHDR',
  'PLTE',
  'IDAT',
  'IEND',
  'tRNS',
  'gAMA',
  'cHRM',
  'sRGB',
  'iCCP',
  'sBIT',
  'eXIf',
  'pHYs',
]);
const signatureBytes = 8;
/** A chunk has a length, a type and a checksum beside its data. */
const chunkOverhead = 12;
/** Inflated bytes of a colour profile; those of cameras and printers have less than 3 MB. */
const maxProfileBytes = 4 * 1024 ** 2;
/** A file cut into more chunks takes longer to read than to decode. */
const maxChunks = 100_000;

export type PngVerdict =
  { readonly kind: 'taken'; readonly file: Buffer } | { readonly kind: 'too-many-chunks' };

/**
 * The same PNG without chunks that decoding does not need. libpng inflates text chunks of a few kilobytes to megabytes
 * each, which decoding would hold.
 */
export function keepNeededChunks(file: Buffer): PngVerdict {
  const parts: Buffer[] = [file.subarray(0, signatureBytes)];
  let at = signatureBytes;
  let isWhole = true;
  for (let count = 0; at + 8 <= file.length; count += 1) {
    if (count > maxChunks) return { kind: 'too-many-chunks' };
    const type = file.toString('latin1', at + 4, at + 8);
    const end = at + chunkOverhead + file.readUInt32BE(at);
    const chunk = file.subarray(at, end);
    if (wanted.has(type) && (type !== 'iCCP' || hasSmallProfile(chunk))) parts.push(chunk);
    else isWhole = false;
    at = end;
  }
  return { kind: 'taken', file: isWhole ? file : Buffer.concat(parts) };
}

/** A profile has a name, a zero, a method and compressed data. */
function hasSmallProfile(chunk: Buffer): boolean {
  const nameEnd = chunk.indexOf(0, 8);
  if (nameEnd === -1) return false;
  try {
    inflateSync(chunk.subarray(nameEnd + 2, -4), { maxOutputLength: maxProfileBytes });
    return true;
  } catch {
    return false;
  }
}
