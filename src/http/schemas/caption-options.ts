import { Type } from 'typebox';

const strict = { additionalProperties: false };

/**
 * The options of a caption: their types, ranges and defaults, for the validation, the TypeScript types and the
 * reference alike. Two ranges depend on other things and are checked where options are read: `beamSize` is at
 * least `candidates`, and `maxLength` at most the bundle's. Defaults stand in the descriptions: with the keyword `default`,
 * generated clients send them along or ask for every option.
 */
export const CaptionOptionsSchema = Type.Object(
  {
    candidates: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10,
        description: 'Captions returned, at most; by default 3.',
      }),
    ),
    beamSize: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10,
        description: 'Beams of the search, at least `candidates`; by default 3 or `candidates`, the larger.',
      }),
    ),
    maxLength: Type.Optional(
      Type.Integer({
        minimum: 4,
        maximum: 100,
        description:
          'Words of a caption, at most. Default and upper limit are the model’s (`GET /v1/models`).',
      }),
    ),
    concepts: Type.Optional(
      Type.Array(
        Type.String({ minLength: 1, maxLength: 40, pattern: '\\S', description: 'a word or phrase' }),
        {
          maxItems: 100,
          description:
            'Concept words to look for, in place of the model’s own vocabulary. One that the image seems to show is more likely to be written.',
        },
      ),
    ),
    conceptsMode: Type.Optional(
      Type.Enum(['replace', 'extend'], {
        type: 'string',
        description:
          'Whether `concepts` take the place of the model’s vocabulary or are added to it; by default `replace`.',
      }),
    ),
    avoidWords: Type.Optional(
      Type.Array(
        Type.String({
          minLength: 1,
          maxLength: 40,
          pattern: "^[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*$",
          description: 'a single word of English letters and digits',
        }),
        { maxItems: 50, description: 'Single words that never appear in a caption, plurals included.' },
      ),
    ),
    genderNeutral: Type.Optional(
      Type.Boolean({
        description: 'Write person and child where a gender would be named; by default false.',
      }),
    ),
    minConfidence: Type.Optional(
      Type.Number({
        minimum: 0,
        maximum: 1,
        description: 'Below this confidence `caption` is null; by default 0.',
      }),
    ),
    explain: Type.Optional(
      Type.Boolean({ description: 'Return where in the image each concept was found; by default false.' }),
    ),
  },
  strict,
);
