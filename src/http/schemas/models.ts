import { type Static, Type } from 'typebox';

const strict = { additionalProperties: false };

const ModelSchema = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal('model'),
    created: Type.Integer({
      format: 'int64',
      description: 'When this service began to serve it, in Unix seconds.',
    }),
    owned_by: Type.String(),
    aliases: Type.Array(Type.String(), {
      description: 'Other names that clients of other protocols may ask for (`MODEL_ALIASES`).',
    }),
    architecture: Type.Object(
      { input_modalities: Type.Array(Type.String()), output_modalities: Type.Array(Type.String()) },
      {
        ...strict,
        title: 'ModelArchitecture',
        description: 'What the model takes and gives, as llama.cpp’s server says it.',
      },
    ),
    version: Type.String(),
    description: Type.String(),
    licence: Type.String(),
    sources: Type.Array(Type.String(), { description: 'Data the model was made from.' }),
    provider: Type.String({ description: 'Execution provider of ONNX Runtime.' }),
    devices: Type.Array(Type.Integer(), {
      description: 'Device numbers of the provider, with a process each; none on CPUs.',
    }),
    placement: Type.Object(
      { encoder: Type.String(), mixup: Type.String(), decoder: Type.String(), textEncoder: Type.String() },
      {
        ...strict,
        title: 'ModelPlacement',
        description: 'Execution provider of each graph: the CPU where it is faster.',
      },
    ),
    precision: Type.String({
      description: 'Number format of the graphs: int8 computes in integers, w8 only stores its weights so.',
    }),
    image: Type.Object(
      {
        width: Type.Integer(),
        height: Type.Integer(),
        resize: Type.Enum(['stretch', 'crop'], { type: 'string', title: 'ResizePolicy' }),
      },
      { ...strict, title: 'ModelImage', description: 'The pixels the model sees.' },
    ),
    grid: Type.Object(
      { rows: Type.Integer(), columns: Type.Integer() },
      { ...strict, title: 'ModelGrid', description: 'Patches of an image.' },
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

export const modelExamples = {
  embedded: {
    summary: 'The embedded model on a CPU',
    value: {
      object: 'list',
      data: [
        {
          id: 'pcm-net-lite2',
          object: 'model',
          created: 1_767_225_600,
          owned_by: 'pcm-caption',
          aliases: [],
          architecture: { input_modalities: ['text', 'image'], output_modalities: ['text'] },
          version: '0.4.1',
          description: 'PCM-Net on a small encoder',
          licence: 'MIT',
          sources: ['COCO 2014 captions'],
          provider: 'cpu',
          devices: [],
          placement: { encoder: 'cpu', mixup: 'cpu', decoder: 'cpu', textEncoder: 'cpu' },
          precision: 'int8',
          image: { width: 288, height: 288, resize: 'stretch' },
          grid: { rows: 9, columns: 9 },
          maxLength: 20,
          beamSize: 3,
          conceptCount: 800,
          calibration: {
            confidence: {
              features: ['cosine', 'meanLogProb'],
              mean: [0.42, -0.79],
              scale: [0.12, 0.2],
              coefficients: [0.84, 0.73],
              intercept: 0.04,
              error: { ece: 0.05, auroc: 0.77 },
            },
          },
          quality: { photos: 1000, w8: { CIDEr: 0.59 } },
        },
      ],
    },
  },
};

export const ModelListSchema = Type.Object(
  { object: Type.Literal('list'), data: Type.Array(ModelSchema) },
  { ...strict, title: 'ModelList' },
);
