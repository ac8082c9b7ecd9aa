/** Formats that are decoded, by the names clients see. */
export const imageFormats = ['jpeg', 'png', 'webp', 'gif', 'avif', 'tiff', 'heic'] as const;
export type ImageFormat = (typeof imageFormats)[number];

/** What the first bytes say: a format that is decoded, the name of one that is not, or nothing known. */
export type SniffedFormat =
  | { readonly supported: true; readonly format: ImageFormat }
  | { readonly supported: false; readonly name: string | undefined };

/** Bytes that are looked at; an SVG may begin with a declaration and a comment. */
const sniffLength = 1024;

/**
 * Tells the format from the content. Names and content types are what a client claims, and picking a decoder by
 * them would let a client choose which decoder reads which bytes.
 */
export function sniffFormat(bytes: Uint8Array): SniffedFormat {
  const head = Buffer.from(bytes.subarray(0, sniffLength)).toString('latin1');
  for (const [format, test] of decoded) if (test(head)) return { supported: true, format };
  for (const [name, test] of refused) if (test(head)) return { supported: false, name };
  return { supported: false, name: undefined };
}

type Test = (head: string) => boolean;

const startsWith =
  (...signatures: string[]): Test =>
  (head) =>
    signatures.some((signature) => head.startsWith(signature));

const riff =
  (kind: string): Test =>
  (head) =>
    head.startsWith('RIFF') && head.slice(8, 12) === kind;

/** ISO base media: the major brand, then (after a version of four bytes) the brands it is compatible with. */
const brand =
  (...brands: string[]): Test =>
  (head) => {
    if (head.slice(4, 8) !== 'ftyp') return false;
    const length = Buffer.from(head.slice(0, 4), 'latin1').readUInt32BE();
    const found = [head.slice(8, 12), ...(head.slice(16, Math.max(length, 16)).match(/.{4}/gs) ?? [])];
    return found.some((name) => brands.includes(name));
  };

const pngSignature = '\x89PNG\r\n\x1a\n';
/** PNGs of iOS apps are in a format of Apple's. */
const isCgbi: Test = (head) => head.startsWith(pngSignature) && head.slice(12, 16) === 'CgBI';

const decoded: readonly (readonly [ImageFormat, Test])[] = [
  ['jpeg', startsWith('\xff\xd8\xff')],
  ['png', (head) => head.startsWith(pngSignature) && !isCgbi(head)],
  ['webp', riff('WEBP')],
  ['gif', startsWith('GIF87a', 'GIF89a')],
  // Brands of AV1 first: a file of both kinds of brand is read as AVIF.
  ['avif', brand('avif')],
  ['heic', brand('heic', 'heix', 'heim', 'heis', 'mif1', 'mif2')],
  ['tiff', startsWith('II*\0', 'MM\0*', 'II+\0', 'MM\0+')],
];

/** Formats people try, so that the answer can name them. */
const refused: readonly (readonly [string, Test])[] = [
  [
    'SVG',
    (head) =>
      /^(?:\xef\xbb\xbf)?\s*(?:<\?xml|<!--|<!DOCTYPE\s+svg|<svg)/i.test(head) &&
      /<svg[\s>:/]|<!DOCTYPE\s+svg/i.test(head),
  ],
  ['PNG of an iOS app (CgBI)', isCgbi],
  ['PDF', startsWith('%PDF-')],
  ['Animated AVIF', brand('avis')],
  ['A HEIC sequence', brand('hevc', 'hevx', 'msf1')],
  ['Canon RAW', brand('crx ')],
  ['Fujifilm RAW', startsWith('FUJIFILMCCD-RAW')],
  ['Panasonic RAW', startsWith('IIU\0')],
  ['Olympus RAW', startsWith('IIRO', 'IIRS', 'MMOR')],
  ['JPEG XL', startsWith('\xff\x0a', '\0\0\0\x0cJXL ')],
  ['JPEG 2000', startsWith('\0\0\0\x0cjP  ', '\xff\x4f\xff\x51')],
  ['BMP', startsWith('BM')],
  ['ICO', startsWith('\0\0\x01\0')],
  ['Photoshop', startsWith('8BPS')],
  ['MP4 or QuickTime video', brand('isom', 'iso2', 'mp41', 'mp42', 'avc1', 'qt  ')],
  ['WebM or Matroska video', startsWith('\x1a\x45\xdf\xa3')],
];
