import { asObject, isJsonObject, type Json, type JsonObject } from './share-schemas.js';

/** Says the same in the words that generators of clients understand, in any part of an OpenAPI document. */
export function forGenerators(part: Json): Json {
  if (Array.isArray(part)) return part.map((entry: Json) => forGenerators(entry));
  if (!isJsonObject(part)) return part;
  const object = Object.fromEntries(
    Object.entries(part).map(([name, entry]) => [name, forGenerators(entry)]),
  );
  return repeatLists(moveExamples(shortenNullable(addFormat(object))));
}

/** Without a format, numbers are decimals of any length in Java and C#. */
const formats = new Map<Json | undefined, string>([
  ['number', 'double'],
  ['integer', 'int32'],
]);

function addFormat(schema: JsonObject): JsonObject {
  const format = formats.get(schema['type']);
  return { ...(format !== undefined && { format }), ...schema };
}

/** A list of types needs no class, as `anyOf` of a type and null does in some languages. */
function shortenNullable({ anyOf, ...others }: JsonObject): JsonObject {
  if (anyOf === undefined) return others;
  const [first, second] = Array.isArray(anyOf) ? anyOf.map(asObject) : [];
  const type = first?.['type'];
  if (type === undefined || second?.['type'] !== 'null') return { anyOf, ...others };
  return { ...first, ...others, type: [type, 'null'] };
}

/** openapi-generator warns of the examples of JSON beside a schema, which it takes for values of parameters. */
function moveExamples(contents: JsonObject): JsonObject {
  const { schema, examples } = asObject(contents['application/json']);
  if (!isJsonObject(schema) || !isJsonObject(examples)) return contents;
  const values = Object.values(examples).map((example) => asObject(example)['value'] ?? null);
  return { ...contents, 'application/json': { schema: { ...schema, examples: values } } };
}

/** Lists in forms repeat their key; unless it is said, clients in Go join them with commas. */
function repeatLists(contents: JsonObject): JsonObject {
  const form = contents['multipart/form-data'];
  if (!isJsonObject(form)) return contents;
  const lists = Object.entries(asObject(asObject(form['schema'])['properties'])).filter(
    ([, property]) =>
      asObject(property)['type'] === 'array' && asObject(asObject(property)['items'])['format'] !== 'binary',
  );
  const encoding = Object.fromEntries(lists.map(([name]) => [name, { style: 'form', explode: true }]));
  return { ...contents, 'multipart/form-data': { ...form, ...(lists.length > 0 && { encoding }) } };
}
