import { Type } from 'typebox';
import { modelName } from '../../captioner/results.js';

export const ConceptListSchema = Type.Object(
  {
    model: modelName,
    concepts: Type.Array(Type.String(), { description: 'The words looked for when a request brings none.' }),
  },
  { additionalProperties: false, title: 'ConceptList' },
);
