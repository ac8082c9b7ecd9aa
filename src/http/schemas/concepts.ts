import { Type } from 'typebox';
import { servedModel } from './result-parts.js';

export const ConceptListSchema = Type.Object(
  {
    model: servedModel,
    concepts: Type.Array(Type.String(), { description: 'The words looked for when a request brings none.' }),
  },
  { additionalProperties: false, title: 'ConceptList' },
);
