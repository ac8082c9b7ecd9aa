import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { ServiceError } from '../../problem.js';

/** Options as they arrive: pairs of text from the query or a form, and members of a JSON body. */
export interface RawOptions {
  readonly texts: Iterable<readonly [name: string, value: string]>;
  readonly members: Readonly<Record<string, unknown>>;
}

/** Throws ServiceError invalid_option: unknown, missing, of the wrong type, out of range, or given two values. */
export type OptionReader<T> = (raw: RawOptions) => T;

/** Reads the options that a schema describes. */
export function createOptionReader<S extends Type.TObject>(schema: S): OptionReader<Static<S>> {
  const properties = new Map(Object.entries<Type.TSchema>(schema.properties));
  const validator = Compile(schema);

  function unknownOption(name: string): ServiceError {
    return invalidOption(
      `There is no option "${name.slice(0, 40)}"; there are ${[...properties.keys()].join(', ')}.`,
    );
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
    const candidate: unknown = Object.fromEntries(values);
    if (validator.Check(candidate)) return candidate;
    const [first] = validator.Errors(candidate);
    const name = first?.instancePath.split('/')[1] ?? missingName(first?.params);
    const property = properties.get(name);
    throw invalidOption(`${name} must be ${property === undefined ? 'left out' : takes(property)}.`);
  };
}

function missingName(params: object | undefined): string {
  const names: unknown = params && 'requiredProperties' in params ? params.requiredProperties : undefined;
  return Array.isArray(names) ? String(names[0]) : '';
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

function twoValues(name: string): ServiceError {
  return invalidOption(`${name} is given with two different values.`);
}

export function invalidOption(detail: string): ServiceError {
  return new ServiceError('invalid_option', detail);
}
