import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import sharp, { type Sharp } from 'sharp';
import type { ErrorCode } from '../../src/errors.js';

/** A picture without a file format. */
export interface Picture {
  /** [height, width, 3], row-major sRGB. */
  readonly pixels: Buffer;
  readonly width: number;
  readonly height: number;
}

/** A file of an unusual variety, and what is right for it. */
export interface OddFile {
  readonly kind: string;
  readonly name: string;
  readonly bytes: Buffer;
  /** The picture it shows and by how many levels of 255 it may differ on average, or how it is refused. */
  readonly right: { readonly picture: Picture; readonly within: number } | { readonly code: ErrorCode };
}

type Encoder = readonly [name: string, encode: (image: Sharp) => Sharp, within: number];

/** How many levels encoders change: lossless, lossy, and with few colours. */
const [exact, lossy, coarse] = [1, 5, 12];

const plain: readonly Encoder[] = [
  ['jpeg', (image) => image.jpeg({ quality: 92 }), lossy],
  ['png', (image) => image.png(), exact],
  ['webp', (image) => image.webp({ quality: 92 }), lossy],
  ['gif', (image) => image.gif(), coarse],
  ['avif', (image) => image.avif({ quality: 85, effort: 0 }), lossy],
  ['tiff', (image) => image.tiff({ compression: 'lzw' }), exact],
];
const withExif = plain.filter(([name]) => ['jpeg', 'png', 'webp', 'tiff'].includes(name));
const withAlpha = plain.filter(([name]) => ['png', 'webp', 'avif', 'tiff'].includes(name));

const varieties: readonly (readonly [kind: string, encoders: readonly Encoder[]])[] = [
  [
    'ways of encoding',
    [
      ['jpeg progressive', (image) => image.jpeg({ progressive: true, quality: 92 }), lossy],
      ['jpeg 4:4:4', (image) => image.jpeg({ chromaSubsampling: '4:4:4', quality: 92 }), lossy],
      ['jpeg mozjpeg', (image) => image.jpeg({ mozjpeg: true, quality: 92 }), lossy],
      ['jpeg quality 40', (image) => image.jpeg({ quality: 40 }), coarse],
      ['png interlaced', (image) => image.png({ progressive: true }), exact],
      ['png palette', (image) => image.png({ palette: true }), coarse],
      ['png 16 colours', (image) => image.png({ palette: true, colours: 16 }), 2 * coarse],
      ['png adaptive filter', (image) => image.png({ adaptiveFiltering: true }), exact],
      // libwebp makes a WebP smaller while it decodes, in another way than the clean picture is made smaller.
      ['webp lossless', (image) => image.webp({ lossless: true }), lossy],
      ['webp near lossless', (image) => image.webp({ nearLossless: true, quality: 60 }), lossy],
      ['gif interlaced', (image) => image.gif({ progressive: true }), coarse],
      ['avif lossless', (image) => image.avif({ lossless: true, effort: 0 }), lossy],
      ['avif 4:2:0', (image) => image.avif({ chromaSubsampling: '4:2:0', quality: 85, effort: 0 }), lossy],
      ...(['none', 'lzw', 'deflate', 'packbits'] as const).flatMap((compression): Encoder[] => [
        [`tiff ${compression}`, (image) => image.tiff({ compression }), exact],
        [`tiff ${compression} bigtiff`, (image) => image.tiff({ compression, bigtiff: true }), exact],
        [
          `tiff ${compression} tiled`,
          (image) => image.tiff({ compression, tile: true, tileWidth: 64, tileHeight: 64 }),
          exact,
        ],
        [
          `tiff ${compression} pyramid`,
          (image) => image.tiff({ compression, tile: true, tileWidth: 64, tileHeight: 64, pyramid: true }),
          exact,
        ],
      ]),
      ['tiff jpeg', (image) => image.tiff({ compression: 'jpeg', quality: 92 }), lossy],
      ['tiff predictor', (image) => image.tiff({ compression: 'lzw', predictor: 'horizontal' }), exact],
    ],
  ],
  [
    '16, 12 and 10 bits',
    [
      ['png', (image) => image.toColourspace('rgb16').png(), exact],
      ['tiff', (image) => image.toColourspace('rgb16').tiff({ compression: 'deflate' }), exact],
      [
        'avif 10',
        (image) => image.toColourspace('rgb16').avif({ bitdepth: 10, quality: 85, effort: 0 }),
        lossy,
      ],
      [
        'avif 12',
        (image) => image.toColourspace('rgb16').avif({ bitdepth: 12, quality: 85, effort: 0 }),
        lossy,
      ],
      ['png srgb', (image) => image.toColourspace('rgb16').withIccProfile('srgb').png(), exact],
      [
        'tiff srgb',
        (image) => image.toColourspace('rgb16').withIccProfile('srgb').tiff({ compression: 'lzw' }),
        exact,
      ],
      ['png p3', (image) => image.toColourspace('rgb16').withIccProfile('p3').png(), lossy],
    ],
  ],
  [
    'colour profiles',
    (['srgb', 'p3'] as const).flatMap((profile) =>
      plain
        .filter(([name]) => name !== 'gif')
        .map(([name, encode, within]): Encoder => [
          `${name} ${profile}`,
          (image) => encode(image.withIccProfile(profile)),
          within + 2,
        ]),
    ),
  ],
];

/** Files of every variety that this machine can make of a picture, and how many it cannot. */
export async function oddFiles(picture: Picture): Promise<{ files: OddFile[]; skipped: number }> {
  const files: OddFile[] = [];
  const image = (from = picture): Sharp => imageOf(from);
  const add = (kind: string, name: string, bytes: Buffer, right: OddFile['right']): void => {
    files.push({ kind, name, bytes, right });
  };

  const encoded = new Map<string, Buffer>();
  for (const [name, encode, within] of plain) {
    const bytes = await encode(image()).toBuffer();
    encoded.set(name, bytes);
    add('plain', name, bytes, { picture, within });
  }
  for (const [kind, encoders] of varieties)
    for (const [name, encode, within] of encoders)
      add(kind, name, await encode(image()).toBuffer(), { picture, within });

  // Inks show neither bright colours nor black.
  const muted = await pictureOf(image().modulate({ saturation: 0.3 }).linear(0.6, 70));
  for (const [name, encode] of [
    ['jpeg', (from) => from.jpeg({ quality: 95 })],
    ['tiff', (from) => from.tiff({ compression: 'lzw' })],
  ] as const satisfies readonly (readonly [string, (from: Sharp) => Sharp])[]) {
    const bytes = await encode(image(muted).toColourspace('cmyk').withIccProfile('cmyk')).toBuffer();
    add('CMYK', name, bytes, { picture: muted, within: 2 * coarse }); // the perceptual intent lifts shadows
  }

  for (let orientation = 1; orientation <= 8; orientation += 1) {
    for (const [name, encode, within] of withExif) {
      const bytes = await encode(image().withMetadata({ orientation })).toBuffer();
      add('orientation', `${name} ${orientation}`, bytes, {
        picture: await upright(picture, orientation),
        within,
      });
    }
  }

  const gray = grayOf(picture);
  const grayEncoders: readonly Encoder[] = [
    ...plain,
    ['png 16 bits', (from) => from.toColourspace('grey16').png(), exact],
    ['png 16 colours', (from) => from.png({ palette: true, colours: 16 }), coarse],
    ['tiff jpeg', (from) => from.tiff({ compression: 'jpeg', quality: 92 }), lossy],
    ['tiff white is zero', (from) => from.tiff({ miniswhite: true }), exact],
    ['tiff 4 bits', (from) => from.tiff({ bitdepth: 4 }), coarse],
  ];
  for (const [name, encode, within] of grayEncoders) {
    const bytes = await encode(image(gray).toColourspace('b-w')).toBuffer();
    add('gray', name, bytes, { picture: gray, within });
  }

  for (const opacity of [0, 0.25, 0.5, 0.9]) {
    const onWhite = mixWithWhite(picture, opacity);
    for (const [name, encode, within] of withAlpha) {
      const bytes = await encode(image().ensureAlpha(opacity)).toBuffer();
      add('transparency', `${name} ${opacity}`, bytes, { picture: onWhite, within: within + 1 });
    }
  }

  for (const [width, height] of [
    [1, 1],
    [2, 2],
    [7, 3],
    [1, 40],
    [40, 1],
    [999, 3],
  ] as const) {
    const small = await pictureOf(image().resize(width, height, { fit: 'fill' }));
    for (const [name, encode] of plain) {
      const bytes = await encode(image(small)).toBuffer();
      add('tiny and thin', `${name} ${width}x${height}`, bytes, { picture: small, within: 2 * coarse });
    }
  }

  const { files: heics, skipped } = heicFiles(await image().png().toBuffer(), picture);
  for (const { name, bytes, within } of heics) {
    // Where it is cut short by little, only the thumbnail is missing.
    if (!name.includes('thumbnail')) encoded.set(name, bytes);
    add('HEIC', name, bytes, { picture, within });
  }

  for (const [name, bytes] of encoded) {
    add('bytes after the end', name, Buffer.concat([bytes, Buffer.alloc(1000, 0x5a)]), {
      picture,
      within: coarse,
    });
    for (const share of [0.3, 0.5, 0.7, 0.9])
      add('cut short', `${name} at ${share}`, bytes.subarray(0, Math.floor(bytes.length * share)), {
        code: 'image_unreadable',
      });
  }

  const jpeg = encoded.get('jpeg') ?? Buffer.alloc(0);
  const png = encoded.get('png') ?? Buffer.alloc(0);
  add('ends of a JPEG', 'no marker', jpeg.subarray(0, -2), { picture, within: lossy });
  add('ends of a JPEG', 'half a marker', jpeg.subarray(0, -1), { picture, within: lossy });
  add('ends of a JPEG', 'closed at a quarter', Buffer.concat([quarterOf(jpeg), Buffer.of(0xff, 0xd9)]), {
    code: 'image_unreadable',
  });
  for (const [name, bytes] of unsupportedFiles(jpeg, await image().tiff({ compression: 'none' }).toBuffer()))
    add('formats and varieties that are not taken', name, bytes, { code: 'unsupported_image_format' });
  for (const [name, bytes] of largeHeaders(png, encoded.get('gif') ?? png, encoded.get('webp') ?? png))
    add('more pixels than allowed', name, bytes, { code: 'image_too_many_pixels' });
  const megabytes = deflateSync(Buffer.alloc(8 * 1024 ** 2));
  for (const [name, chunks] of [
    ['100 text chunks of 8 MB', Array.from({ length: 100 }, () => chunkOf('zTXt', text(megabytes)))],
    ['a profile of 8 MB', [chunkOf('iCCP', text(megabytes))]],
    ['10,000 unknown chunks', Array.from({ length: 10_000 }, () => chunkOf('abCd', Buffer.alloc(8)))],
  ] as const) {
    add('PNG chunks', name, withChunks(png, chunks), { picture, within: exact });
  }
  add(
    'PNG chunks',
    '200,000 chunks',
    withChunks(
      png,
      Array.from({ length: 200_000 }, () => chunkOf('abCd')),
    ),
    {
      code: 'image_too_complex',
    },
  );
  return { files, skipped };
}

export function imageOf({ pixels, width, height }: Picture): Sharp {
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}

async function pictureOf(image: Sharp): Promise<Picture> {
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  return { pixels: data, width: info.width, height: info.height };
}

/** With the green channel for all three. */
function grayOf({ pixels, ...size }: Picture): Picture {
  return { pixels: Buffer.from(pixels.map((_, at) => pixels[at - (at % 3) + 1] ?? 0)), ...size };
}

/** What a file with this orientation of EXIF shows. */
async function upright(picture: Picture, orientation: number): Promise<Picture> {
  const isMirrored = [2, 4, 5, 7].includes(orientation);
  const angle = { 3: 180, 4: 180, 5: 270, 6: 90, 7: 90, 8: 270 }[orientation] ?? 0;
  const mirrored = isMirrored ? await pictureOf(imageOf(picture).flop()) : picture;
  return pictureOf(imageOf(mirrored).rotate(angle));
}

function mixWithWhite({ pixels, ...size }: Picture, opacity: number): Picture {
  return { pixels: Buffer.from(pixels.map((level) => Math.round(255 + (level - 255) * opacity))), ...size };
}

/** By `heif-enc` of libheif, where it is installed. */
function heicFiles(
  png: Buffer,
  { width, height }: Picture,
): { files: { name: string; bytes: Buffer; within: number }[]; skipped: number } {
  const wanted: readonly (readonly [name: string, ...options: string[]])[] = [
    ['heic'],
    ['heic lossless', '-L'],
    ['heic 4:4:4', '-p', 'chroma=444'],
    ['heic with a thumbnail', '-t', String(Math.floor(Math.min(width, height) / 2))],
    ['heif with AV1', '-A'],
  ];
  const folder = mkdtempSync(join(tmpdir(), 'pcm-caption-'));
  try {
    const source = join(folder, 'picture.png');
    writeFileSync(source, png);
    const files = wanted.flatMap(([name, ...options]) => {
      const target = join(folder, 'picture.heic');
      try {
        execFileSync('heif-enc', ['-q', '85', ...options, '-o', target, source], { stdio: 'ignore' });
      } catch {
        return [];
      }
      return [{ name, bytes: readFileSync(target), within: lossy }];
    });
    return { files, skipped: wanted.length - files.length };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** As far as a quarter of its rows, in the first scan. */
function quarterOf(jpeg: Buffer): Buffer {
  const scan = jpeg.indexOf(Buffer.of(0xff, 0xda));
  return jpeg.subarray(0, scan + Math.floor((jpeg.length - scan) / 4));
}

function* unsupportedFiles(jpeg: Buffer, tiff: Buffer): Generator<readonly [string, Buffer]> {
  const starts = {
    SVG: '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    PDF: '%PDF-1.7\n',
    BMP: 'BM\x36\0\0\0',
    ICO: '\0\0\x01\0\x01\0',
    Photoshop: '8BPS\0\x01',
    'JPEG XL': '\xff\x0a',
    'JPEG XL in a box': '\0\0\0\x0cJXL \r\n\x87\n',
    'JPEG 2000': '\0\0\0\x0cjP  \r\n\x87\n',
    'JPEG 2000 codestream': '\xff\x4f\xff\x51',
    'Fujifilm RAW': 'FUJIFILMCCD-RAW 0201',
    'Canon RAW': '\0\0\0\x18ftypcrx \0\0\0\x01crx isom',
    'Olympus RAW': 'IIRO\x08\0\0\0',
    'Panasonic RAW': 'IIU\0\x08\0\0\0',
    MP4: '\0\0\0\x18ftypisom\0\0\0\x01isommp41',
    WebM: '\x1a\x45\xdf\xa3',
    'PNG of an iOS app': '\x89PNG\r\n\x1a\n\0\0\0\x04CgBI\x50\0\x20\x02',
  };
  for (const [name, start] of Object.entries(starts))
    yield [name, Buffer.concat([Buffer.from(start, 'latin1'), Buffer.alloc(200)])];
  const frame = jpeg.indexOf(Buffer.of(0xff, 0xc0));
  for (const [name, marker] of Object.entries({
    'JPEG-LS': 0xf7,
    'lossless JPEG': 0xc3,
    'hierarchical JPEG': 0xc5,
    'arithmetic JPEG': 0xc9,
    'progressive arithmetic JPEG': 0xca,
  })) {
    yield [name, patched(jpeg, frame + 1, marker)];
  }
  yield ['12-bit JPEG', patched(jpeg, frame + 4, 12)];
  for (const compression of [6, 9, 34661, 34712, 34887, 34892, 34925, 50000, 50001, 50002])
    yield [`TIFF compression ${compression}`, withTag(tiff, 259, compression)];
  for (const photometric of [8, 9, 32803, 34892, 32845])
    yield [`TIFF photometric ${photometric}`, withTag(tiff, 262, photometric)];
  for (const format of [2, 3]) yield [`TIFF sample format ${format}`, withTag(tiff, 339, format)];
}

function* largeHeaders(png: Buffer, gif: Buffer, webp: Buffer): Generator<readonly [string, Buffer]> {
  for (const [width, height] of [
    [50_000_000, 1],
    [1, 50_000_000],
    [65_536, 1],
    [8000, 8000],
    [0x7fffffff, 0x7fffffff],
  ] as const) {
    const file = Buffer.from(png);
    file.writeUInt32BE(width, 16);
    file.writeUInt32BE(height, 20);
    yield [`png ${width}x${height}`, file];
  }
  const wide = Buffer.from(gif);
  wide.writeUInt16LE(65_535, 6);
  wide.writeUInt16LE(65_535, 8);
  yield ['gif 65535x65535', wide];
  const large = Buffer.from(webp);
  large.writeUInt16LE(0x3fff, 26);
  large.writeUInt16LE(0x3fff, 28);
  yield ['webp 16383x16383', large];
}

function patched(file: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(file);
  copy[at] = value;
  return copy;
}

/** The first directory with another first value of a tag of type SHORT. */
function withTag(tiff: Buffer, tag: number, value: number): Buffer {
  const copy = Buffer.from(tiff);
  const start = copy.readUInt32LE(4);
  const entries = copy.readUInt16LE(start);
  for (let index = 0; index < entries; index += 1) {
    const at = start + 2 + index * 12;
    if (copy.readUInt16LE(at) !== tag) continue;
    const isInline = copy.readUInt32LE(at + 4) <= 2;
    copy.writeUInt16LE(value, isInline ? at + 8 : copy.readUInt32LE(at + 8));
    return copy;
  }
  throw new Error(`the TIFF has no tag ${tag}`);
}

function text(deflated: Buffer): Buffer {
  return Buffer.concat([Buffer.from('name\0\0', 'latin1'), deflated]);
}

function chunkOf(type: string, data: Buffer = Buffer.alloc(0)): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const chunk = Buffer.alloc(body.length + 8);
  chunk.writeUInt32BE(data.length, 0);
  body.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(body), body.length + 4);
  return chunk;
}

/** Behind the header. */
function withChunks(png: Buffer, chunks: readonly Buffer[]): Buffer {
  const headerEnd = 33;
  return Buffer.concat([png.subarray(0, headerEnd), ...chunks, png.subarray(headerEnd)]);
}
