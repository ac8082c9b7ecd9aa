import { type Static, Type } from 'typebox';

const strict = { additionalProperties: false };

const ModelSchema = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal('model'),
    created: Type.Integer({ description: 'When this process began to serve it, in Unix seconds.' }),
    owned_by: Type.String(),
    version: Type.String(),
    description: Type.String(),
    licence: Type.String(),
    sources: Type.Array(Type.String(), { description: 'Data the model was made from.' }),
    provider: Type.String({ description: 'Execution provider of ONNX Runtime.' }),
    precision: Type.String({
      description: 'Number format of the graphs: int8 computes in integers, w8 only stores its weights so.',
    }),
    image: Type.Object(
      {
        width: Type.Integer(),
        height: Type.Integer(),
        resize: Type.Enum(['stretch', 'crop'], { type: 'string' }),
      },
      { ...strict, description: 'The pixels the model sees.' },
    ),
    grid: Type.Object(
      { rows: Type.Integer(), columns: Type.Integer() },
      { ...strict, description: 'Patches of an image.' },
    ),
    maxLength: Type.Integer({ description: 'Words of a caption, at most.' }),
    beamSize: Type.Integer(),
    conceptCount: Type.Integer({ description: 'Words of the default concept vocabulary.' }),
    calibration: Type.Record(Type.String(), Type.Unknown(), {
      description: 'What confidences are made from, and their measured error.',
    }),
    quality: Type.Record(Type.String(), Type.Unknown(), {
      description: 'Measured on the validation photos.',
    }),
  },
  { ...strict, title: 'Model' },
);

export type Model = Static<typeof ModelSchema>;

export const ModelListSchema = Type.Object(
  { object: Type.Literal('list'), data: Type.Array(ModelSchema) },
  { ...strict, title: 'ModelList' },
);
