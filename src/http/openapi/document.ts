import { forGenerators } from './for-generators.js';
import { isJsonObject, type Json, type JsonObject, shareSchemas } from './share-schemas.js';

/** The OpenAPI 3.1 document that the plugin made of the routes of an app that is ready. */
export function openApiDocument(made: object): JsonObject {
  // Through text, as it will be served: the plugin's object shares parts and has symbols among its keys.
  const document: unknown = JSON.parse(JSON.stringify(made));
  if (!isJsonObject(document)) throw new Error('the OpenAPI document is no object');
  const { paths = {} } = document;
  return shareSchemas({ ...document, paths: forGenerators(describeDefaults(paths)) });
}

/**
 * Says defaults at the end of descriptions, in place of the keyword `default`: with the keyword, generated clients send
 * every option along, or ask for each.
 */
function describeDefaults(value: Json): Json {
  if (Array.isArray(value)) return value.map((entry: Json) => describeDefaults(entry));
  if (!isJsonObject(value)) return value;
  // A parameter has its description beside its schema.
  const { schema, default: own } = value;
  const standard = own ?? (isJsonObject(schema) ? schema['default'] : undefined);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => name !== 'default')
      .map(([name, entry]) =>
        name === 'description' && typeof entry === 'string'
          ? [name, withDefault(entry, standard)]
          : [name, describeDefaults(entry)],
      ),
  );
}

/** An empty list is not worth a word: it is what a list is that is not given. */
function withDefault(description: string, standard: Json | undefined): string {
  if (standard === undefined || Array.isArray(standard)) return description;
  const words = typeof standard === 'string' ? `\`${standard}\`` : JSON.stringify(standard);
  return `${description.replace(/\.$/, '')}; by default ${words}.`;
}
