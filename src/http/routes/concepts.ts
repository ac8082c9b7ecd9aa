import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import type { Scheduler } from '../../scheduler/scheduler.js';
import { ConceptListSchema } from '../schemas/concepts.js';
import { accessProblems, problemResponses } from '../schemas/problem-responses.js';

export interface ConceptRouteOptions {
  readonly scheduler: Scheduler;
}

export function conceptRoutes(
  app: FastifyInstance,
  { scheduler }: ConceptRouteOptions,
  done: () => void,
): void {
  app.get('/v1/concepts', {
    schema: {
      operationId: 'listConcepts',
      tags: ['models'],
      summary: 'The default concept vocabulary',
      response: {
        200: {
          description: 'The words, in the order of the model.',
          content: {
            'application/json': {
              schema: ConceptListSchema,
              examples: {
                words: {
                  value: { model: { id: 'pcm-net-lite2', version: '0.4.1' }, concepts: ['dog', 'grass'] },
                },
              },
            },
          },
        },
        ...problemResponses(...accessProblems),
      },
    },
    handler: (): Static<typeof ConceptListSchema> => {
      const { id, version, conceptWords } = scheduler.model.bundle;
      return { model: { id, version }, concepts: [...conceptWords] };
    },
  });
  done();
}
