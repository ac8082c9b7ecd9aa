import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { ServiceError } from '../errors.js';

const strict = { additionalProperties: false };

/**
 * The options of a caption, in one place: validation, types, the command line's flags and the reference are made of this
 * schema, and what reaches the model has its type. `beamSize` and `maxLength` have defaults that depend on other things and
 * get them in `parseCaptionOptions`. An option with a title is declared under this name in the reference, once for all
 * requests; lists are not, as openapi-generator warns of references to them.
 */
export const CaptionOptionsSchema = Type.Object(
  {
    candidates: Type.Integer({
      title: 'Candidates',
      minimum: 1,
      maximum: 10,
      default: 3,
      description: 'Captions returned, at most.',
    }),
    beamSize: Type.Optional(
      Type.Integer({
        title: 'BeamSize',
        minimum: 1,
        maximum: 10,
        description: 'Beams of the search, at least `candidates`; by default 3 or `candidates`, the larger.',
      }),
    ),
    maxLength: Type.Optional(
      Type.Integer({
        title: 'MaxLength',
        minimum: 4,
        maximum: 100,
        description:
          'Words of a caption, at most. Default and upper limit are the model’s (`GET /v1/models`).',
      }),
    ),
    concepts: Type.Array(
      Type.String({ minLength: 1, maxLength: 40, pattern: '\\S', description: 'a word or phrase' }),
      {
        maxItems: 100,
        default: [],
        description:
          'Concept words to look for, in place of the model’s own vocabulary or beside it (`conceptsMode`). A word that fits the image is more likely to be written.',
      },
    ),
    conceptsMode: Type.Enum(['replace', 'extend'], {
      title: 'ConceptsMode',
      type: 'string',
      default: 'replace',
      description: 'Whether `concepts` take the place of the model’s vocabulary or are added to it.',
    }),
    avoidWords: Type.Array(
      Type.String({
        minLength: 1,
        maxLength: 40,
        pattern: "^[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*$",
        description: 'a single word of English letters and digits',
      }),
      {
        maxItems: 50,
        default: [],
        description: 'Single words that never appear in a caption, plurals included.',
      },
    ),
    genderNeutral: Type.Boolean({
      title: 'GenderNeutral',
      default: false,
      description: 'Write person and child where a gender would be named.',
    }),
    minConfidence: Type.Number({
      title: 'MinConfidence',
      minimum: 0,
      maximum: 1,
      default: 0,
      description: 'Below this confidence `caption` is null.',
    }),
    minTagProbability: Type.Number({
      title: 'MinTagProbability',
      minimum: 0,
      maximum: 1,
      default: 0.5,
      description: 'Tags of a smaller probability are left out.',
    }),
    maxTags: Type.Integer({
      title: 'MaxTags',
      minimum: 0,
      maximum: 100,
      default: 20,
      description: 'Tags returned, at most.',
    }),
    explain: Type.Boolean({
      title: 'Explain',
      default: false,
      description: 'Return where in the image each concept was found.',
    }),
  },
  strict,
);

type Values = Required<Static<typeof CaptionOptionsSchema>>;
/** All options of a caption, with their defaults. */
export type CaptionOptions = {
  readonly [Name in keyof Values]: Values[Name] extends (infer Item)[] ? readonly Item[] : Values[Name];
};
/** The options that reach the model; `minConfidence` is applied to its answer. */
export type ModelOptions = Omit<CaptionOptions, 'minConfidence'>;

/** The texts that an image is compared with. */
export const ScoreOptionsSchema = Type.Object(
  {
    texts: Type.Array(Type.String({ minLength: 1, maxLength: 500, pattern: '\\S', description: 'a text' }), {
      minItems: 1,
      maxItems: 64,
      description: 'Texts that may describe the image, in English.',
    }),
  },
  strict,
);

/** More items or characters than any option takes. */
const longestList = 1000;
const longestText = 4096;

const parseValues = createOptionParser(CaptionOptionsSchema);

/**
 * @param maxWords the longest caption of the bundle, in words
 * @throws ServiceError invalid_option
 */
export function parseCaptionOptions(raw: RawOptions, maxWords: number): CaptionOptions {
  const values = parseValues(raw);
  const { candidates, beamSize = Math.max(3, candidates), maxLength = maxWords } = values;
  if (beamSize < candidates) {
    throw invalidOption(`beamSize must be at least candidates, which is ${candidates}.`);
  }
  if (maxLength > maxWords) {
    throw invalidOption(
      `maxLength must be a whole number from 4 to ${maxWords}, the longest that this model writes.`,
    );
  }
  return { ...values, beamSize, maxLength };
}

/** @throws ServiceError invalid_option */
export const parseScoreOptions = createOptionParser(ScoreOptionsSchema);

/** Options as they arrive: pairs of text from the query or a form, and members of a JSON body. */
export interface RawOptions {
  readonly texts: Iterable<readonly [name: string, value: string]>;
  readonly members: Readonly<Record<string, unknown>>;
}

/**
 * Checks options and fills in the defaults of those that are not given.
 *
 * @throws ServiceError invalid_option: unknown, missing, of the wrong type, out of range, or given two values
 */
export type OptionParser<T> = (raw: RawOptions) => T;

/** A parser of the options that a schema describes; the keyword `default` gives an option its default. */
export function createOptionParser<S extends Type.TObject>(schema: S): OptionParser<Static<S>> {
  const properties = new Map(Object.entries<Type.TSchema>(schema.properties));
  const defaults = [...properties].flatMap(([name, property]): [string, unknown][] =>
    'default' in property ? [[name, property.default]] : [],
  );
  const validators = new Map([...properties].map(([name, property]) => [name, Compile(property)]));
  const validator = Compile(schema);

  function unknownOption(name: string): ServiceError {
    return invalidOption(
      `There is no option "${name.slice(0, 40)}"; there are ${[...properties.keys()].join(', ')}.`,
    );
  }

  function wrongValue(name: string): ServiceError {
    const property = properties.get(name);
    return invalidOption(`${name} must be ${property === undefined ? 'left out' : takes(property)}.`);
  }

  /** Gathers the texts of each name, and turns them into values of its type where they are written like one. */
  function fromTexts(texts: RawOptions['texts']): [string, unknown][] {
    const gathered = new Map<string, string[]>();
    for (const [name, text] of texts) {
      const known = gathered.get(name);
      if (known === undefined) gathered.set(name, [text]);
      else known.push(text);
    }
    return [...gathered].map(([name, list]) => {
      const property = properties.get(name);
      if (property === undefined) throw unknownOption(name);
      if (Type.IsArray(property)) return [name, list];
      const [text = '', ...others] = list;
      if (others.some((other) => other !== text)) throw twoValues(name);
      return [name, valueOf(text, property)];
    });
  }

  return ({ texts, members }) => {
    const values = new Map(fromTexts(texts));
    for (const [name, value] of Object.entries(members)) {
      const other = values.get(name);
      if (other !== undefined && JSON.stringify(other) !== JSON.stringify(value)) throw twoValues(name);
      values.set(name, value);
    }
    for (const name of values.keys()) if (!properties.has(name)) throw unknownOption(name);
    for (const [name, value] of values) {
      if (isLong(value) || validators.get(name)?.Check(value) !== true) throw wrongValue(name);
    }
    const candidate: unknown = Object.fromEntries([...defaults, ...values]);
    if (validator.Check(candidate)) return candidate;
    // Each value was right: one is missing.
    throw wrongValue(schema.required.find((name) => !values.has(name)) ?? '');
  };
}

/** Whether a value is far beyond what any option takes: checking each of its parts would take seconds. */
function isLong(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > longestList || value.some(isLong);
  return typeof value === 'string' && value.length > longestText;
}

function valueOf(text: string, schema: Type.TSchema): unknown {
  const isNumber = Type.IsInteger(schema) || Type.IsNumber(schema);
  // As JSON writes numbers: small ones come as 1e-7 from most languages.
  if (isNumber && /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(text)) return Number(text);
  // Python writes True, and so do clients that are generated for it.
  if (Type.IsBoolean(schema) && /^(?:true|false)$/i.test(text)) return text.toLowerCase() === 'true';
  return text;
}

/** In words, what an option takes. */
function takes(schema: Type.TSchema): string {
  const keyword = (name: string) => String(new Map(Object.entries(schema)).get(name));
  const range = () => `from ${keyword('minimum')} to ${keyword('maximum')}`;
  if (Type.IsInteger(schema)) return `a whole number ${range()}`;
  if (Type.IsNumber(schema)) return `a number ${range()}`;
  if (Type.IsBoolean(schema)) return 'true or false';
  if (Type.IsEnum(schema)) return schema.enum.join(' or ');
  if (Type.IsArray(schema)) {
    const size = 'minItems' in schema ? `${keyword('minItems')} to` : 'at most';
    return `a list of ${size} ${keyword('maxItems')}, each ${takes(schema.items)}`;
  }
  return `${keyword('description')} of ${keyword('minLength')} to ${keyword('maxLength')} characters`;
}

export function twoValues(name: string): ServiceError {
  return invalidOption(`${name.slice(0, 40)} is given with two different values.`);
}

export function invalidOption(detail: string): ServiceError {
  return new ServiceError('invalid_option', detail);
}
