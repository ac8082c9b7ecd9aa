/** Any JSON. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = Readonly<Record<string, Json>>;

/**
 * Moves every schema with a title into `components.schemas` and leaves a reference: readers see one `CaptionResult`
 * and generated clients get one type, where route schemas repeat it.
 */
export function shareSchemas(document: JsonObject): JsonObject {
  const schemas = new Map<string, Json>();
  const paths = share(document['paths'] ?? {}, schemas);
  const sorted = [...schemas].sort(([a], [b]) => (a < b ? -1 : 1));
  const components = { ...asObject(document['components']), schemas: Object.fromEntries(sorted) };
  return { ...document, paths, components };
}

function share(value: Json, schemas: Map<string, Json>): Json {
  if (Array.isArray(value)) return value.map((entry: Json) => share(entry, schemas));
  if (!isJsonObject(value)) return value;
  const { title, ...rest } = Object.fromEntries(
    Object.entries(value).map(([name, entry]) => [name, share(entry, schemas)]),
  );
  if (typeof title !== 'string' || !isSchema(rest)) return title === undefined ? rest : { title, ...rest };
  // Where it is a whole body, it has examples.
  schemas.set(title, { ...asObject(schemas.get(title)), ...rest });
  return { $ref: `#/components/schemas/${title}` };
}

/** An example may have a title too, and even a type. */
function isSchema({ type, anyOf, oneOf }: JsonObject): boolean {
  const types: readonly unknown[] = ['object', 'array', 'string', 'integer', 'number', 'boolean'];
  return anyOf !== undefined || oneOf !== undefined || types.includes(type);
}

export function asObject(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
