import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import { featureNames, matchFeatureNames } from './confidence.js';

/** Version of the bundle contract this program reads. */
const bundleFormatVersion = 1;

const strict = { additionalProperties: false };
const Count = Type.Integer({ minimum: 1, maximum: 100_000 });
/** A path inside the bundle's folder: no part begins with a dot, so none can leave it. */
const FileName = Type.String({ maxLength: 200, pattern: '^[\\w-][\\w.-]*(/[\\w-][\\w.-]*)*$' });

/** A logistic function of named features; see `probability` in confidence.ts. */
function logisticCalibration<Name extends Type.TSchema>(feature: Name) {
  return Type.Object(
    {
      features: Type.Array(feature, { minItems: 1, uniqueItems: true }),
      mean: Type.Array(Type.Number()),
      scale: Type.Array(Type.Number({ exclusiveMinimum: 0 })),
      coefficients: Type.Array(Type.Number()),
      intercept: Type.Number(),
      /** Measured quality of the fit, shown to clients as it is. */
      error: Type.Record(Type.String(), Type.Number()),
    },
    strict,
  );
}

/** `bundle.json`: the contract between training and serving. */
const BundleManifestSchema = Type.Object(
  {
    formatVersion: Type.Literal(bundleFormatVersion),
    id: Type.String({ pattern: '^[\\w.-]{1,64}$' }),
    version: Type.String({ minLength: 1, maxLength: 64 }),
    licence: Type.String(),
    description: Type.String(),
    sources: Type.Array(Type.String()),
    image: Type.Object(
      {
        width: Count,
        height: Count,
        resize: Type.Union([Type.Literal('stretch'), Type.Literal('crop')]),
        kernel: Type.Union([Type.Literal('cubic'), Type.Literal('linear'), Type.Literal('lanczos3')]),
      },
      strict,
    ),
    grid: Type.Object({ rows: Count, columns: Count }, strict),
    dimensions: Type.Object(
      { grid: Count, embedding: Count, memory: Count, memoryLength: Count, vocabulary: Count },
      strict,
    ),
    decoding: Type.Object(
      {
        beamSize: Type.Integer({ minimum: 1, maximum: 10 }),
        /** Words of a caption, at most. */
        maxLength: Type.Integer({ minimum: 4, maximum: 100 }),
        /** A beam's score is logProb / length ** lengthPenalty: 0 is the sum of logarithms, 1 their mean. */
        lengthPenalty: Type.Number(),
        /** Size of word groups that may not repeat; 0 is off. */
        noRepeatNgram: Type.Integer({ minimum: 0, maximum: 10 }),
        /** A candidate's rank is its score + rerankWeight · cosine. */
        rerankWeight: Type.Number({ minimum: 0 }),
        /** Lines of the vocabulary that are never written. */
        blockedWords: Type.Array(Type.String()),
      },
      strict,
    ),
    concepts: Type.Object(
      {
        /** JSON array of strings. */
        words: FileName,
        /** Little-endian float32 [C, E], rows of unit length. */
        embeddings: FileName,
        /** Templates around `{}`; a concept is the mean of its embedded templates. */
        prompts: Type.Array(Type.String({ pattern: '\\{\\}' }), { minItems: 1, maxItems: 8 }),
        /** Concepts detected in each image. */
        k: Type.Integer({ minimum: 1, maximum: 100 }),
        /** What makes the decoder write a concept that a client named; without it nothing does but the fusion. */
        named: Type.Optional(
          Type.Object(
            {
              /** Cosine of image and concept from which on the image seems to show it. */
              minCosine: Type.Number({ minimum: -1, maximum: 1 }),
              /** Added to the logit of its word then. */
              bias: Type.Number({ minimum: 0, maximum: 100 }),
            },
            strict,
          ),
        ),
      },
      strict,
    ),
    /** Line n, counted from 1, is the word with id n; id 0 begins and ends a sentence. */
    vocabulary: FileName,
    tokenizer: Type.Object(
      { file: FileName, maxTokens: Type.Integer({ minimum: 4, maximum: 1024 }) },
      strict,
    ),
    calibration: Type.Object(
      {
        confidence: logisticCalibration(Type.Enum(featureNames)),
        matchProbability: Type.Optional(logisticCalibration(Type.Enum(matchFeatureNames))),
        /** Little-endian float32 [rows, E], unit length: where training photos lie. */
        imageCentroids: Type.Object({ file: FileName, rows: Count }, strict),
      },
      strict,
    ),
    precisions: Type.Record(
      Type.String({ pattern: '^[a-z0-9]{1,16}$' }),
      Type.Object({ encoder: FileName, mixup: FileName, decoder: FileName, textEncoder: FileName }, strict),
      strict,
    ),
    /** Numbers of the model card, shown to clients as they are. */
    quality: Type.Record(Type.String(), Type.Unknown()),
    /** Size and SHA-256 of every file of the bundle except bundle.json. */
    files: Type.Record(
      FileName,
      Type.Object(
        { bytes: Type.Integer({ minimum: 0 }), sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }) },
        strict,
      ),
      strict,
    ),
  },
  strict,
);

export type BundleManifest = Static<typeof BundleManifestSchema>;

/** The bundle cannot be served; the message names the file and what is wrong with it. */
export class BundleError extends Error {
  override readonly name = 'BundleError';
  /** Where no bundle is. For the operator alone: the message may reach a client. */
  readonly folder: string | undefined;

  constructor(message: string, { folder, ...options }: ErrorOptions & { readonly folder?: string } = {}) {
    super(message, options);
    this.folder = folder;
  }
}

/**
 * @param text the content of `bundle.json`
 * @throws BundleError
 */
export function parseManifest(text: string): BundleManifest {
  const value = parseJson(text, 'bundle.json');
  if (!Value.Check(Type.Object({ formatVersion: Type.Literal(bundleFormatVersion) }), value)) {
    throw new BundleError(`bundle.json is not of format version ${bundleFormatVersion}, the one served here`);
  }
  if (!Value.Check(BundleManifestSchema, value)) {
    const [first] = Value.Errors(BundleManifestSchema, value);
    const where = first?.instancePath === '' ? 'bundle.json' : `bundle.json: ${first?.instancePath ?? ''}`;
    // A member that the contract does not have fails against the schema `false`.
    const what = first?.keyword === 'boolean' ? 'is not known' : (first?.message ?? 'is invalid');
    throw new BundleError(`${where} ${what}${allowedValues(first?.params)}`);
  }
  checkCalibrations(value);
  checkReferences(value);
  return value;
}

function allowedValues(params: object | undefined): string {
  return params && 'allowedValues' in params ? `: ${JSON.stringify(params.allowedValues)}` : '';
}

function checkCalibrations({ calibration }: BundleManifest): void {
  for (const name of ['confidence', 'matchProbability'] as const) {
    const fit = calibration[name];
    if (fit === undefined) continue;
    for (const part of ['mean', 'scale', 'coefficients'] as const) {
      if (fit[part].length !== fit.features.length) {
        throw new BundleError(
          `bundle.json: /calibration/${name}/${part} has ${fit[part].length} numbers for ${fit.features.length} features`,
        );
      }
    }
  }
}

/** Every file that is used has a hash. */
function checkReferences(manifest: BundleManifest): void {
  const used = [
    manifest.concepts.words,
    manifest.concepts.embeddings,
    manifest.vocabulary,
    manifest.tokenizer.file,
    manifest.calibration.imageCentroids.file,
    ...Object.values(manifest.precisions).flatMap((graphs) => Object.values(graphs)),
  ];
  for (const name of used) {
    if (!Object.hasOwn(manifest.files, name))
      throw new BundleError(`bundle.json: /files does not list ${name}`);
  }
  if (Object.keys(manifest.precisions).length === 0)
    throw new BundleError('bundle.json: /precisions is empty');
}

/** @throws BundleError */
export function parseJson(text: string, name: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch (error) {
    throw new BundleError(`${name} is not valid JSON`, { cause: error });
  }
}
