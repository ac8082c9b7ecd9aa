import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import type { ServedModel } from '../../scheduler/model.js';
import type { Scheduler } from '../../scheduler/scheduler.js';
import { sendProblemForOpenAi } from '../problem-details.js';
import { type Model, modelExamples, ModelListSchema } from '../schemas/models.js';
import { accessProblems, problemResponses } from '../schemas/problem-responses.js';

export interface ModelRouteOptions {
  readonly scheduler: Scheduler;
  /** Names that the model answers to, beside its own. */
  readonly modelAliases: readonly string[];
}

export function modelRoutes(
  app: FastifyInstance,
  { scheduler, modelAliases }: ModelRouteOptions,
  done: () => void,
): void {
  app.get('/v1/models', {
    schema: {
      operationId: 'listModels',
      tags: ['models'],
      summary: 'The model that is being served, with what it can do and how good it is',
      response: {
        200: {
          description: 'A list of one model.',
          content: { 'application/json': { schema: ModelListSchema, examples: modelExamples } },
        },
        ...problemResponses(...accessProblems),
      },
    },
    errorHandler: (error, request, reply) => {
      void sendProblemForOpenAi(error, request, reply);
    },
    handler: (): Static<typeof ModelListSchema> => ({
      object: 'list',
      data: [modelOf(scheduler.model, modelAliases)],
    }),
  });
  done();
}

function modelOf(
  { bundle, provider, devices, placement, precision, servingSince }: ServedModel,
  aliases: readonly string[],
): Model {
  const { width, height, resize } = bundle.image;
  return {
    id: bundle.id,
    object: 'model',
    created: Math.floor(servingSince / 1000),
    owned_by: 'pcm-caption',
    aliases: [...aliases],
    architecture: { input_modalities: ['text', 'image'], output_modalities: ['text'] },
    version: bundle.version,
    description: bundle.description,
    licence: bundle.licence,
    sources: [...bundle.sources],
    provider,
    devices: [...devices],
    placement: { ...placement },
    precision,
    image: { width, height, resize },
    grid: bundle.grid,
    maxLength: bundle.decoding.maxLength,
    beamSize: bundle.decoding.beamSize,
    conceptCount: bundle.conceptWords.length,
    calibration: bundle.calibration,
    quality: bundle.quality,
  };
}
