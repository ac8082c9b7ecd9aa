import sharp, { type Sharp } from 'sharp';

const encodings: readonly ((photo: Sharp) => Sharp)[] = [
  (photo) => photo.jpeg(),
  (photo) => photo.jpeg({ progressive: true }).withExif({ IFD0: { Copyright: 'nobody' } }),
  (photo) => photo.toColourspace('cmyk').jpeg(),
  (photo) => photo.png(),
  (photo) => photo.png({ progressive: true, palette: true }),
  (photo) => photo.toColourspace('rgb16').png(),
  (photo) => photo.webp(),
  (photo) => photo.ensureAlpha(0.5).webp({ lossless: true }),
  (photo) => photo.gif(),
  (photo) => photo.avif({ effort: 0 }),
  (photo) => photo.tiff({ compression: 'none' }),
  (photo) => photo.tiff({ compression: 'lzw', predictor: 'horizontal' }),
  (photo) => photo.tiff({ compression: 'deflate', tile: true, tileWidth: 64, tileHeight: 64, pyramid: true }),
  (photo) => photo.tiff({ compression: 'jpeg' }),
];

/** Small files of every format that is taken, each in the kinds that its decoder reads by other code. */
export async function sourceFiles(photos: readonly Buffer[]): Promise<Buffer[]> {
  return Promise.all(
    photos.flatMap((photo) =>
      encodings.map((encode) =>
        encode(sharp(photo).resize(160, 120, { fit: 'fill' }))
          .withMetadata()
          .toBuffer(),
      ),
    ),
  );
}
