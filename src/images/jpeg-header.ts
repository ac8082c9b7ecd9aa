/** The frame header of a JPEG (ISO/IEC 10918-1, B.2.2). */
export interface JpegFrame {
  readonly width: number;
  readonly height: number;
  /** Bits of a sample. */
  readonly precision: number;
  /** The second byte of the marker: SOF0 is 0xc0. */
  readonly marker: number;
}

/** Segments before the frame header; a photo has a few dozen at most. */
const maxSegments = 1000;

const isFrameMarker = (marker: number): boolean =>
  (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) || marker === 0xf7; // JPEG-LS
/** Markers without a length: TEM, RSTn, SOI, EOI. */
const isBare = (marker: number): boolean => marker === 0x01 || (marker >= 0xd0 && marker <= 0xd9);

/** The first frame header, or undefined where there is none. */
export function readJpegFrame(file: Buffer): JpegFrame | undefined {
  for (const { marker, at } of segments(file, 2)) {
    if (!isFrameMarker(marker)) continue;
    if (at + 9 > file.length) return undefined;
    return {
      marker,
      precision: file.readUInt8(at + 4),
      height: file.readUInt16BE(at + 5),
      width: file.readUInt16BE(at + 7),
    };
  }
  return undefined;
}

/** The variety of a frame that is not decoded, by name; undefined where it is. */
export function unsupportedJpeg({ marker, precision }: JpegFrame): string | undefined {
  if (marker === 0xf7) return 'JPEG-LS';
  if (marker === 0xc3 || marker === 0xcb) return 'Lossless JPEG';
  if (marker >= 0xc5 && marker <= 0xc7) return 'Hierarchical JPEG';
  if (marker >= 0xc9) return 'JPEG with arithmetic coding';
  return precision === 8 ? undefined : `JPEG with ${precision} bits a sample`;
}

/**
 * Counts the scans (SOS markers) of a JPEG, up to `most` and one more. Each scan of a progressive JPEG goes over all its
 * pixels, so a small file with many scans decodes for minutes.
 */
export function countScans(file: Buffer, most: number): number {
  let scans = 0;
  for (let at = file.indexOf(0xff, 2); at !== -1 && at + 1 < file.length; at = file.indexOf(0xff, at + 1)) {
    if (file[at + 1] !== 0xda) continue;
    scans += 1;
    if (scans > most) break;
  }
  return scans;
}

/** The segments that follow each other from `start`, until the first scan, whose data has no segments. */
function* segments(file: Buffer, start: number): Generator<{ readonly marker: number; readonly at: number }> {
  let at = start;
  for (let count = 0; count < maxSegments; count += 1) {
    if (at + 4 > file.length || file[at] !== 0xff) return;
    const marker = file.readUInt8(at + 1);
    if (marker === 0xff) {
      at += 1; // fill bytes
      continue;
    }
    if (isBare(marker)) {
      at += 2;
      continue;
    }
    yield { marker, at };
    if (marker === 0xda) return;
    at += 2 + file.readUInt16BE(at + 2);
  }
}
