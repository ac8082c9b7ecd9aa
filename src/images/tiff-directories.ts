/** What one directory of a TIFF says of its picture (TIFF 6.0, section 8). */
export interface TiffDirectory {
  /** Its place among the directories, which is the page of libvips. */
  readonly page: number;
  readonly width: number;
  readonly height: number;
  readonly compression: number;
  readonly photometric: number;
  readonly samplesPerPixel: number;
  /** Of each sample; 1 unsigned, 2 signed, 3 floating point. */
  readonly sampleFormat: number;
  /** 0 unspecified, 1 associated alpha, 2 unassociated alpha; one for each sample beyond those of the colour. */
  readonly extraSamples: readonly number[];
  readonly isTiled: boolean;
  readonly hasSeparatePlanes: boolean;
  /** A thumbnail, or another reduced version of a picture in the same file. */
  readonly isReduced: boolean;
}

/** Directories that are looked at; scans have hundreds of pages, of which the first is captioned. */
const maxDirectories = 64;
/** Entries of a directory that are looked at. */
const maxEntries = 256;

const tags = {
  subfileType: 254,
  width: 256,
  height: 257,
  compression: 259,
  photometric: 262,
  samplesPerPixel: 277,
  planarConfiguration: 284,
  tileWidth: 322,
  extraSamples: 338,
  sampleFormat: 339,
} as const;

/** The directory of the main picture: the first that is not a reduced version of another. */
export function readMainDirectory(file: Buffer): TiffDirectory | undefined {
  let first: TiffDirectory | undefined;
  for (const directory of directories(file)) {
    if (!directory.isReduced) return directory;
    first ??= directory;
  }
  return first;
}

/** Nothing of BigTIFF, whose offsets have eight bytes. */
function* directories(file: Buffer): Generator<TiffDirectory> {
  if (file.length < 8) return;
  const isLittle = file[0] === 0x49;
  const short = (at: number): number =>
    at + 2 > file.length ? 0 : isLittle ? file.readUInt16LE(at) : file.readUInt16BE(at);
  const long = (at: number): number =>
    at + 4 > file.length ? 0 : isLittle ? file.readUInt32LE(at) : file.readUInt32BE(at);
  if (short(2) !== 42) return;
  let start = long(4);
  for (let page = 0; page < maxDirectories && start >= 8 && start + 2 <= file.length; page += 1) {
    const entries = short(start);
    const values = new Map<number, number[]>();
    for (let index = 0; index < Math.min(entries, maxEntries); index += 1) {
      const at = start + 2 + index * 12;
      values.set(short(at), readValues(at));
    }
    yield directoryOf(page, values);
    start = long(start + 2 + entries * 12);
  }

  /** The first values of an entry of type SHORT or LONG; others are not needed. */
  function readValues(at: number): number[] {
    const type = short(at + 2);
    const count = Math.min(long(at + 4), 8);
    const size = type === 3 ? 2 : type === 4 ? 4 : 0;
    if (size === 0) return [];
    const from = count * size <= 4 ? at + 8 : long(at + 8);
    return Array.from({ length: count }, (_, index) =>
      size === 2 ? short(from + index * size) : long(from + index * size),
    );
  }
}

function directoryOf(page: number, values: ReadonlyMap<number, readonly number[]>): TiffDirectory {
  const value = (tag: number, otherwise: number): number => values.get(tag)?.[0] ?? otherwise;
  return {
    page,
    width: value(tags.width, 0),
    height: value(tags.height, 0),
    compression: value(tags.compression, 1),
    photometric: value(tags.photometric, 1),
    samplesPerPixel: value(tags.samplesPerPixel, 1),
    sampleFormat: value(tags.sampleFormat, 1),
    extraSamples: values.get(tags.extraSamples) ?? [],
    isTiled: values.has(tags.tileWidth),
    hasSeparatePlanes: value(tags.planarConfiguration, 1) === 2,
    isReduced: (value(tags.subfileType, 0) & 1) === 1,
  };
}

const compressionNames: Readonly<Record<number, string>> = {
  6: 'old-style JPEG',
  9: 'JBIG',
  10: 'JBIG',
  32766: 'NeXT',
  32809: 'ThunderScan',
  34661: 'JBIG',
  34676: 'SGILog',
  34677: 'SGILog24',
  34712: 'JPEG 2000',
  34887: 'LERC',
  34892: 'lossy JPEG (DNG)',
  34925: 'LZMA',
  50000: 'Zstandard',
  50001: 'WebP',
  50002: 'JPEG XL',
  52546: 'JPEG XL',
};
/** none, CCITT, LZW, JPEG, Deflate, PackBits */
const supportedCompressions = new Set([1, 2, 3, 4, 5, 7, 8, 32771, 32773, 32946]);
const photometricNames: Readonly<Record<number, string>> = {
  8: 'Lab colours',
  9: 'Lab colours',
  10: 'Lab colours',
  32803: 'a camera’s raw pixels',
  32844: 'logarithmic luminance',
  32845: 'logarithmic colours',
  34892: 'a camera’s raw pixels',
};

/** The variety of a TIFF that is not decoded, in words; undefined where it is. */
export function unsupportedTiff(directory: TiffDirectory): string | undefined {
  const { compression, photometric, sampleFormat, samplesPerPixel, isTiled, hasSeparatePlanes } = directory;
  if (!supportedCompressions.has(compression)) {
    return `TIFF with ${compressionNames[compression] ?? `unknown (${compression})`} compression`;
  }
  const colours = photometricNames[photometric];
  if (colours !== undefined) return `TIFF with ${colours}`;
  if (sampleFormat === 2) return 'TIFF with signed samples';
  if (sampleFormat === 3) return 'TIFF with floating point samples';
  if (isTiled && hasSeparatePlanes) return 'TIFF with tiles in separate planes';
  if (photometric === 5 && samplesPerPixel > 4) return 'TIFF in CMYK with spot colours';
  return undefined;
}

/** Channels that are colour, where the file has more that are neither colour nor alpha; undefined where it has not. */
export function colourChannels({
  photometric,
  samplesPerPixel,
  extraSamples,
}: TiffDirectory): number | undefined {
  const colours = photometric === 2 || photometric === 6 ? 3 : photometric === 5 ? 4 : 1;
  const isPlain =
    samplesPerPixel <= colours || (samplesPerPixel === colours + 1 && (extraSamples[0] ?? 0) > 0);
  return isPlain ? undefined : colours;
}
