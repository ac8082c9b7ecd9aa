import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import type { CaptionOptions } from '../../runtime/messages.js';
import { ServiceError } from '../../problem.js';
import { CaptionOptionsSchema, type CaptionOptionValues } from '../schemas/caption-options.js';

/** Options as they arrive: pairs of text from the query or a form, and members of a JSON body. */
export interface RawOptions {
  readonly texts: Iterable<readonly [name: string, value: string]>;
  readonly members: Readonly<Record<string, unknown>>;
}

export interface ReadOptions {
  /** What the model is asked. */
  readonly options: CaptionOptions;
  /** What is done with its answer. */
  readonly minConfidence: number;
}

const properties = new Map(Object.entries(CaptionOptionsSchema.properties));
const validator = Compile(CaptionOptionsSchema);

/**
 * @param maxLength the bundle's longest caption in words
 * @throws ServiceError invalid_option: unknown, of the wrong type, out of range, or given twice with two values
 */
export function readOptions({ texts, members }: RawOptions, maxLength: number): ReadOptions {
  const values = new Map(fromTexts(texts));
  for (const [name, value] of Object.entries(members)) {
    const other = values.get(name);
    if (other !== undefined && JSON.stringify(other) !== JSON.stringify(value)) throw twoValues(name);
    values.set(name, value);
  }
  for (const name of values.keys()) if (!properties.has(name)) throw unknownOption(name);
  return withDefaults(validated(Object.fromEntries(values)), maxLength);
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
    const schema = properties.get(name);
    if (schema === undefined) throw unknownOption(name);
    if (Type.IsArray(schema)) return [name, list];
    const [text = '', ...others] = list;
    if (others.some((other) => other !== text)) throw twoValues(name);
    return [name, valueOf(text, schema)];
  });
}

function valueOf(text: string, schema: Type.TSchema): unknown {
  const isNumber = Type.IsInteger(schema) || Type.IsNumber(schema);
  if (isNumber && /^-?\d+(\.\d+)?$/.test(text)) return Number(text);
  if (Type.IsBoolean(schema) && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}

function validated(values: Record<string, unknown>): CaptionOptionValues {
  if (validator.Check(values)) return values;
  const path = validator.Errors(values)[0]?.instancePath.split('/') ?? [];
  const name = path[1] ?? '';
  const schema = properties.get(name);
  throw invalid(`${name} must be ${schema === undefined ? 'left out' : takes(schema)}.`);
}

function withDefaults(values: CaptionOptionValues, maxLength: number): ReadOptions {
  const candidates = values.candidates ?? 3;
  const beamSize = values.beamSize ?? Math.max(3, candidates);
  if (beamSize < candidates) {
    throw invalid(`beamSize must be at least candidates, which is ${candidates}.`);
  }
  if (values.maxLength !== undefined && values.maxLength > maxLength) {
    throw invalid(
      `maxLength must be a whole number from 4 to ${maxLength}, the longest that this model writes.`,
    );
  }
  return {
    options: {
      candidates,
      beamSize,
      maxLength: values.maxLength ?? maxLength,
      concepts: values.concepts ?? [],
      conceptsMode: values.conceptsMode ?? 'replace',
      avoidWords: values.avoidWords ?? [],
      genderNeutral: values.genderNeutral ?? false,
      explain: values.explain ?? false,
    },
    minConfidence: values.minConfidence ?? 0,
  };
}

/** In words, what an option takes. */
function takes(schema: Type.TSchema): string {
  const keyword = (name: string) => String(new Map(Object.entries(schema)).get(name));
  const range = () => `from ${keyword('minimum')} to ${keyword('maximum')}`;
  if (Type.IsInteger(schema)) return `a whole number ${range()}`;
  if (Type.IsNumber(schema)) return `a number ${range()}`;
  if (Type.IsBoolean(schema)) return 'true or false';
  if (Type.IsEnum(schema)) return schema.enum.join(' or ');
  if (Type.IsArray(schema)) return `a list of at most ${keyword('maxItems')}, each ${takes(schema.items)}`;
  return `${keyword('description')} of ${keyword('minLength')} to ${keyword('maxLength')} characters`;
}

function unknownOption(name: string): ServiceError {
  return invalid(
    `There is no option "${name.slice(0, 40)}"; there are ${[...properties.keys()].join(', ')}.`,
  );
}

function twoValues(name: string): ServiceError {
  return invalid(`${name} is given with two different values.`);
}

function invalid(detail: string): ServiceError {
  return new ServiceError('invalid_option', detail);
}
