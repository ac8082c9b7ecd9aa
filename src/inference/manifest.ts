import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import { featureNames, matchFeatureNames } from './confidence.js';
import { tagFeatureNames } from './tags.js';

/** The version of the bundle contract that this program reads. */
const bundleFormatVersion = 1;

const strict = { additionalProperties: false };
const countRange = { minimum: 1, maximum: 100_000 };
const Count = Type.Integer(countRange);

/**
 * A path inside the bundle's folder. No part of it begins with a dot, so it cannot leave the folder. `\w` is spelled
 * out because it means more characters to validators that are not written in JavaScript.
 */
const fileNamePattern = '^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$';

function fileName(description: string) {
  return Type.String({ description, maxLength: 200, pattern: fileNamePattern });
}

/** A logistic function of named features; `predictProbability` in confidence.ts computes it. */
function logisticCalibration<Name extends Type.TSchema>(feature: Name, description: string) {
  return Type.Object(
    {
      features: Type.Array(feature, { minItems: 1, uniqueItems: true }),
      mean: Type.Array(Type.Number(), { description: 'Mean of each feature.' }),
      scale: Type.Array(Type.Number({ exclusiveMinimum: 0 }), {
        description: 'Standard deviation of each feature.',
      }),
      coefficients: Type.Array(Type.Number(), { description: 'Coefficient of each standardised feature.' }),
      intercept: Type.Number(),
      error: Type.Record(Type.String(), Type.Number(), {
        description: 'Measured quality of the fit. Clients are shown it unchanged.',
      }),
    },
    { ...strict, description },
  );
}

/**
 * `bundle.json`: the contract between training and serving. It is written here only: `npm run bundle-schema` emits it
 * as JSON Schema for the training side, so descriptions are part of the schema instead of comments.
 */
export const BundleManifestSchema = Type.Object(
  {
    formatVersion: Type.Literal(bundleFormatVersion, { description: 'Version of this contract.' }),
    id: Type.String({ pattern: '^[A-Za-z0-9_.-]{1,64}$' }),
    version: Type.String({ minLength: 1, maxLength: 64 }),
    licence: Type.String(),
    description: Type.String(),
    sources: Type.Array(Type.String(), { description: 'Data and models that the bundle was made from.' }),
    image: Type.Object(
      {
        width: Count,
        height: Count,
        resize: Type.Union([Type.Literal('stretch'), Type.Literal('crop')]),
        kernel: Type.Union([Type.Literal('cubic'), Type.Literal('linear'), Type.Literal('lanczos3')]),
      },
      { ...strict, description: 'Size in pixels that the encoder takes, and how an image is resized to it.' },
    ),
    grid: Type.Object({ rows: Count, columns: Count }, { ...strict, description: 'Patches of an image.' }),
    dimensions: Type.Object(
      {
        grid: Type.Integer({ ...countRange, description: 'Length D of a patch feature.' }),
        embedding: Type.Integer({ ...countRange, description: 'Length E of an embedding of image or text.' }),
        memory: Type.Integer({
          ...countRange,
          description: 'Length d of a vector that the decoder attends to.',
        }),
        memoryLength: Type.Integer({ ...countRange, description: 'Number M of these vectors.' }),
        vocabulary: Type.Integer({
          ...countRange,
          description: 'Number V of words, end of sentence included.',
        }),
      },
      strict,
    ),
    decoding: Type.Object(
      {
        beamSize: Type.Integer({ minimum: 1, maximum: 10 }),
        maxLength: Type.Integer({
          minimum: 4,
          maximum: 100,
          description: 'Largest number of words of a caption.',
        }),
        lengthPenalty: Type.Number({
          description:
            "A beam's score is logProb / length ** lengthPenalty: 0 gives the sum of logarithms, 1 their mean.",
        }),
        noRepeatNgram: Type.Integer({
          minimum: 0,
          maximum: 10,
          description: 'Size of the groups of words that may not repeat; 0 turns this off.',
        }),
        rerankWeight: Type.Number({
          minimum: 0,
          description:
            "A candidate's rank score is its score in the search + rerankWeight · cosine, less what `repetition` says.",
        }),
        repetition: Type.Optional(
          Type.Object(
            {
              stems: fileName(
                'File of what each line of the vocabulary is a form of, such as "dog" for "dogs"; the lines of words that a caption may say again are empty.',
              ),
              penalty: Type.Number({
                minimum: 0,
                description: 'Taken from the rank score for each word of a candidate that is said again.',
              }),
            },
            {
              ...strict,
              description: 'Ranks candidates lower that say a word twice. Without it, they are not.',
            },
          ),
        ),
        blockedWords: Type.Array(Type.String(), {
          description: 'Lines of the vocabulary that no caption may contain.',
        }),
      },
      { ...strict, description: 'Beam search: its defaults, and how its beams are ranked.' },
    ),
    concepts: Type.Object(
      {
        words: fileName('File of a JSON array of strings.'),
        embeddings: fileName('File of little-endian float32 [C, E], rows of unit length.'),
        prompts: Type.Array(Type.String({ pattern: '\\{\\}' }), {
          minItems: 1,
          maxItems: 8,
          description:
            "Templates with {} in the place of the concept, whose embedding is the templates' mean.",
        }),
        k: Type.Integer({
          minimum: 1,
          maximum: 100,
          description: 'Number of concepts detected in each image.',
        }),
        named: Type.Optional(
          Type.Object(
            {
              minCosine: Type.Number({
                minimum: -1,
                maximum: 1,
                description: 'Smallest cosine of image and concept at which the image seems to show it.',
              }),
              bias: Type.Number({
                minimum: 0,
                maximum: 100,
                description: "Value added to the logit of such a concept's word.",
              }),
            },
            {
              ...strict,
              description:
                'Makes the decoder write concepts that a client named. Without it, they act through the mixup alone.',
            },
          ),
        ),
      },
      { ...strict, description: 'The default concept vocabulary.' },
    ),
    tags: Type.Optional(
      Type.Object(
        {
          file: fileName(
            'File of a JSON array of objects: `word`, one of the concept vocabulary; `forms`, the words of the decoder that name it; `intercept` and `coefficients` of a logistic function, a number for each feature.',
          ),
          features: Type.Array(Type.Enum(tagFeatureNames), { minItems: 1, uniqueItems: true }),
        },
        {
          ...strict,
          description: 'Words for search with their probabilities. Without it, images get no tags.',
        },
      ),
    ),
    vocabulary: fileName(
      "File of the decoder's words: line n, counted from 1, is the word with id n. Id 0 begins and ends a sentence.",
    ),
    tokenizer: Type.Object(
      {
        file: fileName('File in the format of Hugging Face tokenizers.'),
        maxTokens: Type.Integer({
          minimum: 4,
          maximum: 1024,
          description: 'Largest number of tokens of a text, special tokens included.',
        }),
      },
      { ...strict, description: 'Tokenizer of the text encoder.' },
    ),
    calibration: Type.Object(
      {
        confidence: logisticCalibration(Type.Enum(featureNames), 'Confidence of a caption.'),
        matchProbability: Type.Optional(
          logisticCalibration(
            Type.Enum(matchFeatureNames),
            'Probability that a text belongs to the image and not to a random other one.',
          ),
        ),
        imageCentroids: Type.Object(
          { file: fileName('File of little-endian float32 [rows, E], rows of unit length.'), rows: Count },
          { ...strict, description: 'Centroids of the embeddings of training images.' },
        ),
      },
      strict,
    ),
    precisions: Type.Record(
      Type.String({ pattern: '^[a-z0-9]{1,16}$' }),
      Type.Object(
        {
          encoder: fileName('File of the image encoder.'),
          mixup: fileName('File of concept detection and mixup.'),
          decoder: fileName('File of the decoder with its beam search.'),
          textEncoder: fileName('File of the text encoder.'),
        },
        strict,
      ),
      { ...strict, description: 'ONNX files of the four graphs in each precision.' },
    ),
    quality: Type.Record(Type.String(), Type.Unknown(), {
      description: 'Numbers of the model card. Clients are shown them unchanged.',
    }),
    files: Type.Record(
      Type.String({ pattern: fileNamePattern }),
      Type.Object(
        { bytes: Type.Integer({ minimum: 0 }), sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }) },
        strict,
      ),
      { ...strict, description: 'Size and SHA-256 of every file of the bundle except bundle.json.' },
    ),
  },
  {
    ...strict,
    title: 'bundle.json',
    description: 'Manifest of a model bundle: the contract between training and serving.',
  },
);

export type BundleManifest = Static<typeof BundleManifestSchema>;

/** The bundle cannot be served. The message names the file and says what is wrong with it. */
export class BundleError extends Error {
  override readonly name = 'BundleError';
  /** The folder without a bundle. The message omits it, because the message may reach a client. */
  readonly folder: string | undefined;

  constructor(message: string, { folder, ...options }: ErrorOptions & { readonly folder?: string } = {}) {
    super(message, options);
    this.folder = folder;
  }
}

/**
 * Parses `bundle.json` and checks it against the schema, and its parts against each other.
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
    // A member that the contract does not have is validated against the schema `false`.
    const what = first?.keyword === 'boolean' ? 'is not known' : (first?.message ?? 'is invalid');
    throw new BundleError(`${where} ${what}${formatAllowedValues(first?.params)}`);
  }
  checkCalibrations(value);
  checkReferences(value);
  return value;
}

function formatAllowedValues(params: object | undefined): string {
  return params && 'allowedValues' in params ? `: ${JSON.stringify(params.allowedValues)}` : '';
}

/** Checks that the arrays of a calibration have one number for each feature. */
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

/** Checks that there is a precision, and that every file that is used has a hash. */
function checkReferences(manifest: BundleManifest): void {
  const used = [
    manifest.concepts.words,
    manifest.concepts.embeddings,
    ...(manifest.tags === undefined ? [] : [manifest.tags.file]),
    ...(manifest.decoding.repetition === undefined ? [] : [manifest.decoding.repetition.stems]),
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

/**
 * @param name the file's name, for messages
 * @throws BundleError
 */
export function parseJson(text: string, name: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch (error) {
    throw new BundleError(`${name} is not valid JSON`, { cause: error });
  }
}
