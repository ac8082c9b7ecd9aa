import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import type { Engine } from '../../engine/engine.js';
import { ConceptListSchema } from '../schemas/concepts.js';
import { accessProblems, problemResponses } from '../schemas/problem.js';

export interface ConceptRouteOptions {
  readonly engine: Engine;
}

export function conceptRoutes(app: FastifyInstance, { engine }: ConceptRouteOptions, done: () => void): void {
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
                  value: { model: { id: 'pcm-net-lite2', version: '0.4.0' }, concepts: ['dog', 'grass'] },
                },
              },
            },
          },
        },
        ...problemResponses(...accessProblems),
      },
    },
    handler: (): Static<typeof ConceptListSchema> => {
      const { id, version, conceptWords } = engine.bundle;
      return { model: { id, version }, concepts: [...conceptWords] };
    },
  });
  done();
}
