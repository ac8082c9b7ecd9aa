import type { FastifyInstance } from 'fastify';
import type { ProtocolOptions } from '../../http/protocol.js';
import { chooseModel, modelNames } from '../models.js';

/** What clients ask about a model by its name, beside the list at `GET /v1/models`. */
export function addModelRoutes(app: FastifyInstance, options: ProtocolOptions): void {
  const { scheduler } = options;
  app.get<{ Params: { model: string } }>('/v1/models/:model', {
    schema: { summary: 'The served model, by one of its names' },
    handler: ({ params }) => ({
      id: chooseModel(params.model, options),
      object: 'model',
      created: Math.floor(scheduler.model.servingSince / 1000),
      owned_by: 'pcm-caption',
    }),
  });
  app.get('/props', {
    schema: { summary: 'What clients of llama.cpp’s server ask of it' },
    handler: () => ({
      default_generation_settings: { n_ctx: scheduler.model.bundle.decoding.maxLength },
      total_slots: options.scheduler.model.bundle.decoding.beamSize,
      model_alias: modelNames(options)[0],
      modalities: { vision: true, audio: false },
    }),
  });
}
