import { invalidOption } from '../captioner/options.js';
import type { Description } from './describe.js';
import { isObject, type JsonObject, listOf } from './permissive.js';

/**
 * Answers in the form that a client asks for. A JSON schema is filled by the names of its fields: what a caption service
 * knows is written where a field is named for it, and a required field of any other name is an error that names it.
 */

/** Fields that take the caption. */
const captionFields = ['caption', 'description', 'altText', 'alt_text', 'text'];
/** Fields that take the words of the tags. */
const tagFields = ['tags', 'keywords'];

/** Fields of a label. */
const labelFields = ['name', 'confidence', 'topicality'];

/** How deep a schema may nest; `$ref` may refer to itself. */
const maxDepth = 8;

/**
 * The answer to a request for JSON without a schema: everything there is.
 */
export function describeAsJson(description: Description): string {
  const { caption, confidence, tags } = description;
  return JSON.stringify({
    caption: caption ?? '',
    confidence,
    ...(tags !== undefined && { tags: tags.map(({ word }) => word), labels: labelsOf(description) }),
  });
}

/**
 * A JSON text that follows the schema.
 *
 * @throws ServiceError invalid_option: the schema is no object, or requires what a caption service does not know
 */
export function fillSchema(schema: unknown, description: Description): string {
  if (!isObject(schema)) throw invalidOption('The JSON schema must be an object.');
  const root = resolve(schema, schema, 0);
  if (!takesType(root, 'object')) throw invalidOption('The JSON schema must be that of an object.');
  const value = fillObject(root, schema, description, '', 0);
  return JSON.stringify(value);
}

function fillObject(
  schema: JsonObject,
  root: JsonObject,
  said: Description,
  path: string,
  depth: number,
): JsonObject {
  if (depth > maxDepth) throw invalidOption('The JSON schema nests too deep.');
  const properties = isObject(schema['properties']) ? schema['properties'] : {};
  const required = listOf(schema['required']).filter((name) => typeof name === 'string');
  const filled: [string, unknown][] = [];
  for (const [name, property] of Object.entries(properties)) {
    const at = path === '' ? name : `${path}.${name}`;
    const value = fillProperty(name, property, root, said, at, depth);
    if (value !== undefined) filled.push([name, value]);
    else if (required.includes(name)) {
      if (!allowsNull(property, root)) throw unknownField(at);
      filled.push([name, null]);
    }
  }
  const missing = required.find((name) => !Object.hasOwn(properties, name));
  if (missing !== undefined) throw unknownField(missing);
  return Object.fromEntries(filled);
}

/** The value of a property; undefined where nothing is known for it. */
function fillProperty(
  name: string,
  property: unknown,
  root: JsonObject,
  said: Description,
  path: string,
  depth: number,
): unknown {
  const schema = resolve(property, root, depth);
  const takes = (type: string) => takesType(schema, type);
  const { caption, confidence, tags } = said;
  if (captionFields.includes(name)) {
    if (takes('string') && schema['enum'] === undefined) return caption ?? '';
    // PhotoPrism: { "caption": { "text", "confidence" } }.
    return takes('object') ? fillObject(schema, root, said, path, depth + 1) : undefined;
  }
  if (name === 'confidence') return takes('number') ? confidence : undefined;
  if (tags === undefined || !takes('array')) return undefined;
  const items = resolve(schema['items'] ?? {}, root, depth);
  const limit = typeof schema['maxItems'] === 'number' ? schema['maxItems'] : undefined;
  const least = typeof schema['minItems'] === 'number' ? schema['minItems'] : 0;
  if (tagFields.includes(name) || name === 'labels') {
    if (typesOf(items).includes('object')) {
      const labels = name === 'labels' ? fillLabels(items, said, path).slice(0, limit) : undefined;
      return labels !== undefined && labels.length >= least ? labels : undefined;
    }
    if (!takesType(items, 'string')) return undefined;
    const { enum: allowed } = items;
    const words = tags
      .map(({ word }) => word)
      .filter((word) => !Array.isArray(allowed) || allowed.includes(word));
    return words.length >= least ? words.slice(0, limit) : undefined;
  }
  return undefined;
}

function fillLabels(items: JsonObject, said: Description, path: string): object[] {
  const required = listOf(items['required']).filter((name) => typeof name === 'string');
  const missing = required.find((name) => !labelFields.includes(name));
  if (missing !== undefined) throw unknownField(`${path}[].${missing}`);
  const named = isObject(items['properties']) ? Object.keys(items['properties']) : labelFields;
  return labelsOf(said).map((label) =>
    Object.fromEntries(Object.entries(label).filter(([name]) => named.includes(name))),
  );
}

/** PhotoPrism's labels. All that a tag has is its probability. */
function labelsOf({ tags = [] }: Description): { name: string; confidence: number; topicality: number }[] {
  return tags.map(({ word, probability }) => ({
    name: word,
    confidence: probability,
    topicality: probability,
  }));
}

/** Follows `$ref` into the schema's own definitions, and takes the part of a union that is not null. */
function resolve(schema: unknown, root: JsonObject, depth: number): JsonObject {
  if (!isObject(schema)) return {};
  if (depth > maxDepth) throw invalidOption('The JSON schema nests too deep.');
  const { $ref: reference, anyOf, oneOf, allOf } = schema;
  if (typeof reference === 'string') return resolve(pointedAt(reference, root), root, depth + 1);
  for (const union of [anyOf, oneOf, allOf]) {
    if (!Array.isArray(union)) continue;
    const part: unknown = union.find((each) => isObject(each) && each['type'] !== 'null');
    return resolve(part, root, depth + 1);
  }
  return schema;
}

function pointedAt(reference: string, root: JsonObject): unknown {
  if (!reference.startsWith('#/')) throw invalidOption('The JSON schema refers to another document.');
  return reference
    .slice(2)
    .split('/')
    .reduce<unknown>((at, name) => (isObject(at) && Object.hasOwn(at, name) ? at[name] : undefined), root);
}

function allowsNull(property: unknown, root: JsonObject): boolean {
  if (!isObject(property)) return false;
  if (typeof property['$ref'] === 'string') return allowsNull(resolve(property, root, 0), root);
  const union = [property['anyOf'], property['oneOf']].find(Array.isArray) ?? [];
  return (
    typesOf(property).includes('null') || union.some((each) => isObject(each) && each['type'] === 'null')
  );
}

function typesOf({ type }: JsonObject): readonly unknown[] {
  return Array.isArray(type) ? type : type === undefined ? [] : [type];
}

/** A schema without a type takes any. */
function takesType(schema: JsonObject, type: string): boolean {
  const types = typesOf(schema);
  return types.length === 0 || types.includes(type);
}

function unknownField(path: string) {
  return invalidOption(
    `The JSON schema requires the field "${path.slice(0, 100)}", which this service cannot fill: it knows caption, confidence, tags and labels.`,
  );
}
