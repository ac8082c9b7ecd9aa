import { Option } from 'commander';
import { Type } from 'typebox';
import { type CaptionOptions, CaptionOptionsSchema, parseCaptionOptions } from '../captioner/options.js';
import { ServiceError } from '../errors.js';
import { UsageError } from './exit-codes.js';

/** Values of the command line by their camelCase names, as commander gives them. */
export type Flags = Readonly<Record<string, unknown>>;

const properties = Object.entries<Type.TSchema>(CaptionOptionsSchema.properties);

/** A flag for each option of the API, made from the same schema: `beamSize` is `--beam-size`. */
export function captionFlags(): Option[] {
  return properties.map(([name, schema]) => {
    const keywords = new Map<string, unknown>(Object.entries(schema));
    const value = keywords.get('default');
    // A flag that is off, and a list that is empty, are what everybody expects.
    const standard =
      typeof value === 'string' || typeof value === 'number' ? ` (default: ${String(value)})` : '';
    const description = inFlags(
      String(keywords.get('description')).replaceAll('`', '').replace('GET /v1/models', 'pcm-caption models'),
    );
    if (Type.IsBoolean(schema)) return new Option(flagOf(name), description);
    const placeholder = Type.IsArray(schema)
      ? 'words'
      : Type.IsEnum(schema)
        ? schema.enum.join('|')
        : 'number';
    const option = new Option(`${flagOf(name)} <${placeholder}>`, `${description}${standard}`);
    return Type.IsArray(schema) ? option.argParser(addWords) : option;
  });
}

/**
 * @param maxWords the longest caption of the bundle, in words
 * @throws UsageError
 */
export function parseCaptionFlags(flags: Flags, maxWords: number): CaptionOptions {
  const texts = properties.flatMap(([name]) => {
    const value = flags[name];
    if (value === undefined) return [];
    return (Array.isArray(value) ? value : [value]).map((each): [string, string] => [name, String(each)]);
  });
  try {
    return parseCaptionOptions({ texts, members: {} }, maxWords);
  } catch (error) {
    throw error instanceof ServiceError ? new UsageError(inFlags(error.detail)) : error;
  }
}

/** Words are separated by commas, and the flag may come again. */
function addWords(text: string, before: unknown): string[] {
  const words: string[] = Array.isArray(before) ? before.map(String) : [];
  return [...words, ...text.split(',').map((word) => word.trim())];
}

function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Names of options as flags; a name of one word may be a plain word, but where a sentence begins with it. */
function inFlags(text: string): string {
  return properties.reduce((sentence, [name]) => {
    const pattern = /[A-Z]/.test(name) ? new RegExp(`\\b${name}\\b`, 'g') : new RegExp(`^${name}\\b`);
    return sentence.replace(pattern, flagOf(name));
  }, text);
}
