import { Type } from 'typebox';

export const ConceptListSchema = Type.Object(
  {
    model: Type.Object({ id: Type.String(), version: Type.String() }, { additionalProperties: false }),
    concepts: Type.Array(Type.String(), { description: 'The words looked for when a request brings none.' }),
  },
  { additionalProperties: false, title: 'ConceptList' },
);
