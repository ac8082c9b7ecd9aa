import { type Static, Type } from 'typebox';
import { base64, content, examplePng } from './image.js';

const strict = { additionalProperties: false };

/** Inputs of one request, at most. */
export const maxInputs = 1024;
/** Characters of a text: far more than the model reads. */
export const maxCharacters = 32_768;

const EmbeddingInputSchema = Type.Object(
  {
    text: Type.Optional(Type.String({ minLength: 1, maxLength: maxCharacters })),
    image: Type.Optional(base64()),
  },
  { ...strict, title: 'EmbeddingInput', description: 'Either `text` or `image` is given.' },
);

/** The objects alone: a union of texts, lists and objects, as OpenAI has it, is no type that generated clients can use. */
export const embeddingBody = {
  content: {
    'application/json': content(
      Type.Object(
        {
          input: Type.Array(EmbeddingInputSchema, {
            minItems: 1,
            maxItems: maxInputs,
            description: 'What is embedded.',
          }),
          model: Type.Optional(Type.String({ description: 'The served model, or one of its aliases.' })),
        },
        {
          title: 'EmbeddingRequest',
          description: 'Other members are ignored, as clients of OpenAI send some.',
        },
      ),
      {
        texts: {
          summary: 'Two texts',
          value: { input: [{ text: 'a dog on grass' }, { text: 'a red car' }] },
        },
        image: {
          summary: 'An image and a text',
          value: { input: [{ image: examplePng }, { text: 'a red square' }] },
        },
      },
    ),
  },
};

export const EmbeddingListSchema = Type.Object(
  {
    object: Type.Literal('list'),
    data: Type.Array(
      Type.Object(
        {
          object: Type.Literal('embedding'),
          index: Type.Integer({ minimum: 0 }),
          embedding: Type.Array(Type.Number(), { description: 'A vector of length 1.' }),
        },
        { ...strict, title: 'EmbeddedInput' },
      ),
      { description: 'One for each input, in order. Cosines compare texts and images alike.' },
    ),
    model: Type.String(),
    usage: Type.Object(
      { prompt_tokens: Type.Integer(), total_tokens: Type.Integer() },
      { ...strict, title: 'EmbeddingUsage', description: 'Words of the texts, and one for each image.' },
    ),
  },
  { ...strict, title: 'EmbeddingList' },
);

/** With `encoding_format` base64, a vector is a text. */
export type EmbeddingList = Omit<Static<typeof EmbeddingListSchema>, 'data'> & {
  data: { object: 'embedding'; index: number; embedding: number[] | string }[];
};

export const embeddingExamples = {
  list: {
    summary: 'Vectors are shortened here',
    value: {
      object: 'list',
      data: [{ object: 'embedding', index: 0, embedding: [0.0213, -0.0478, 0.0091] }],
      model: 'pcm-net-lite2',
      usage: { prompt_tokens: 4, total_tokens: 4 },
    },
  },
};
