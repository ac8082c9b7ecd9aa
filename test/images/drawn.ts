import { randomBytes } from 'node:crypto';
import sharp, { type Sharp } from 'sharp';

/** Images that tests draw themselves, so that they need no files. */

/** A picture whose four quarters are red, green, blue and white (clockwise from the top left: red, green, white, blue). */
export function quarters(width = 320, height = 200): Sharp {
  const block = (background: string, left: number, top: number) => ({
    input: {
      create: {
        width: Math.ceil(width / 2),
        height: Math.ceil(height / 2),
        channels: 3 as const,
        background,
      },
    },
    left,
    top,
  });
  return sharp({ create: { width, height, channels: 3, background: '#ffffff' } }).composite([
    block('#ff0000', 0, 0),
    block('#00ff00', Math.floor(width / 2), 0),
    block('#0000ff', 0, Math.floor(height / 2)),
  ]);
}

/** Noise cannot be compressed away, so files cut short lose pixels. */
export function noise(width = 200, height = 150): Sharp {
  return sharp(randomBytes(width * height * 3), { raw: { width, height, channels: 3 } });
}

/** A PNG whose header claims a size that its few bytes of pixels do not have. */
export async function pngClaiming(width: number, height: number): Promise<Buffer> {
  const png = await sharp({ create: { width: 8, height: 8, channels: 3, background: '#808080' } })
    .png()
    .toBuffer();
  const header = Buffer.from(png.subarray(8 + 4, 8 + 8 + 13));
  header.writeUInt32BE(width, 4);
  header.writeUInt32BE(height, 8);
  header.copy(png, 8 + 4);
  png.writeUInt32BE(crc32(header), 8 + 8 + 13);
  return png;
}

/** The checksum of PNG chunks (ISO 3309), bit by bit: node:zlib has one only from version 22 on. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

export const svg = Buffer.from(
  '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>',
);

export const pdf = Buffer.from(
  '%PDF-1.4\n1 0 obj << /Type /Catalog >> endobj\ntrailer << /Root 1 0 R >>\n%%EOF\n',
);

/** The first box of a HEIC file, as phones write it. */
export const heic = Buffer.concat([
  Buffer.from([0, 0, 0, 24]),
  Buffer.from('ftypheic\0\0\0\0mif1heic', 'latin1'),
  Buffer.alloc(64),
]);
