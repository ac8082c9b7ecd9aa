import sharp, { type Sharp } from 'sharp';

/** An undamaged file. */
export interface SourceFile {
  readonly format: string;
  readonly bytes: Buffer;
}

const encodings: Readonly<Record<string, readonly ((photo: Sharp) => Sharp)[]>> = {
  jpeg: [
    (photo) => photo.jpeg(),
    (photo) => photo.jpeg({ progressive: true }).withExif({ IFD0: { Copyright: 'nobody' } }),
    (photo) => photo.toColourspace('cmyk').jpeg(),
  ],
  png: [
    (photo) => photo.png(),
    (photo) => photo.png({ progressive: true, palette: true }),
    (photo) => photo.toColourspace('rgb16').png(),
  ],
  webp: [(photo) => photo.webp(), (photo) => photo.ensureAlpha(0.5).webp({ lossless: true })],
  gif: [(photo) => photo.gif()],
  avif: [(photo) => photo.avif({ effort: 0 })],
  tiff: [
    (photo) => photo.tiff({ compression: 'none' }),
    (photo) => photo.tiff({ compression: 'lzw', predictor: 'horizontal' }),
    (photo) =>
      photo.tiff({ compression: 'deflate', tile: true, tileWidth: 64, tileHeight: 64, pyramid: true }),
    (photo) => photo.tiff({ compression: 'jpeg' }),
  ],
};

/** Small files of every format that is taken, each in the kinds that its decoder reads by other code. */
export async function sourceFiles(photos: readonly Buffer[]): Promise<SourceFile[]> {
  return Promise.all(
    photos.flatMap((photo) =>
      Object.entries(encodings).flatMap(([format, ways]) =>
        ways.map(async (encode) => ({
          format,
          bytes: await encode(sharp(photo).resize(160, 120, { fit: 'fill' }))
            .withMetadata()
            .toBuffer(),
        })),
      ),
    ),
  );
}
