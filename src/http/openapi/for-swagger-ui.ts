import { asObject, type Json, type JsonObject } from './share-schemas.js';

/**
 * Gives the optional fields of forms an empty example. Swagger UI begins with a value for each field, made up where there is
 * no example, and sends those that are not empty. Texts of scores begin with texts that make sense.
 */
export function forSwaggerUi(document: JsonObject): JsonObject {
  const components = asObject(document['components']);
  const schemas = Object.entries(asObject(components['schemas'])).map(([name, schema]): [string, Json] => [
    name,
    name.endsWith('Form') ? withExamples(asObject(schema)) : schema,
  ]);
  return { ...document, components: { ...components, schemas: Object.fromEntries(schemas) } };
}

function withExamples({ properties, ...form }: JsonObject): JsonObject {
  const fields = Object.entries(asObject(properties)).map(([name, field]): [string, Json] => {
    const property = asObject(field);
    const example = name === 'texts' ? ['A photo of a dog'] : property['type'] === 'array' ? [] : '';
    return [name, property['format'] === 'binary' ? property : { ...property, examples: [example] }];
  });
  return { ...form, properties: Object.fromEntries(fields) };
}
