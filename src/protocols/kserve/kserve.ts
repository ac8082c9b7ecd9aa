import type { FastifyInstance } from 'fastify';
import type { ImageSource } from '../../captioner/image-source.js';
import { invalidOption } from '../../captioner/options.js';
import { ServiceError } from '../../errors.js';
import { addImageRoute, type Protocol, type ProtocolOptions } from '../../http/protocol.js';
import { packageVersion } from '../../version.js';
import { describe } from '../describe.js';
import { chooseModel } from '../models.js';
import { isObject, jsonBody, type JsonObject, listOf, optionalText } from '../permissive.js';

interface ModelRoute {
  Params: { model: string };
}

/** The Open Inference Protocol (KServe v2), in JSON. */
export const kserve: Protocol = {
  name: 'kserve',
  description:
    'Open Inference Protocol (KServe v2): `/v2/models/{model}/infer` with a BYTES tensor of images in base64.',
  formatError: ({ detail }) => ({ body: { error: detail } }),
  routes(app, options) {
    addHealthRoutes(app, options);
    addImageRoute(
      app,
      ['POST', '/v2/models/:model/infer'],
      {
        summary: 'Caption images',
        body: {
          type: 'object',
          additionalProperties: true,
          examples: [{ inputs: [{ name: 'image', shape: [1], datatype: 'BYTES', data: ['(base64)'] }] }],
        },
      },
      options,
      async (request, _reply, context) => {
        const { params } = request;
        const name = isObject(params) ? optionalText(params['model'], 'model') : undefined;
        const model = chooseModel(name, options);
        const body = jsonBody(request);
        const { results } = await describe(imagesOf(body), options, context);
        const shape = [results.length];
        return {
          model_name: model,
          model_version: context.permit.model.bundle.version,
          id: optionalText(body['id'], 'id') ?? request.id,
          outputs: [
            { name: 'caption', datatype: 'BYTES', shape, data: results.map(({ caption }) => caption ?? '') },
            {
              name: 'confidence',
              datatype: 'FP32',
              shape,
              data: results.map(({ confidence }) => confidence),
            },
          ],
        };
      },
    );
  },
};

function imagesOf({ inputs }: JsonObject): ImageSource[] {
  const [tensor, ...others] = listOf(inputs);
  if (!isObject(tensor) || others.length > 0) {
    throw new ServiceError('missing_image', 'Send one tensor in inputs: the images.');
  }
  if (tensor['datatype'] !== 'BYTES') throw invalidOption('The datatype of the tensor must be BYTES.');
  // A tensor may be written nested, as its shape is.
  return listOf(tensor['data'])
    .flatMap(listOf)
    .map((text): ImageSource => ({ kind: 'base64', text }));
}

function addHealthRoutes(app: FastifyInstance, options: ProtocolOptions): void {
  const { scheduler } = options;
  const refuseUnready = (): void => {
    const { readiness } = scheduler;
    if (!readiness.ready) throw new ServiceError('not_ready', readiness.reason);
  };
  app.get('/v2/health/live', {
    schema: { summary: 'Whether the server lives' },
    handler: () => ({ live: true }),
  });
  app.get('/v2/health/ready', {
    schema: { summary: 'Whether the server is ready' },
    handler: () => {
      refuseUnready();
      return { ready: true };
    },
  });
  app.get('/v2', {
    schema: { summary: 'What the server is' },
    handler: () => ({ name: 'pcm-caption', version: packageVersion(), extensions: [] }),
  });
  app.get<ModelRoute>('/v2/models/:model/ready', {
    schema: { summary: 'Whether the model is ready' },
    handler: ({ params }) => {
      const name = chooseModel(params.model, options);
      refuseUnready();
      return { name, ready: true };
    },
  });
  app.get<ModelRoute>('/v2/models/:model', {
    schema: { summary: 'The tensors of the model' },
    handler: ({ params }) => ({
      name: chooseModel(params.model, options),
      versions: [scheduler.model.bundle.version],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'image', datatype: 'BYTES', shape: [-1] }],
      outputs: [
        { name: 'caption', datatype: 'BYTES', shape: [-1] },
        { name: 'confidence', datatype: 'FP32', shape: [-1] },
      ],
    }),
  });
}
