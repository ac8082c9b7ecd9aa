import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { parseScoreOptions } from '../../captioner/options.js';
import { invalidOption } from '../../captioner/options.js';
import { type ScoreResult, ScoreResultSchema } from '../../captioner/results.js';
import { admit, admittedOf, unlessAborted } from '../admission-hook.js';
import { onlyImage } from '../request/parsed-request.js';
import { hasOptionsInBody, queryOf, readRequest } from '../request/read.js';
import { groupedParameters, ownPathNote, timingHeaders } from '../schemas/image.js';
import { imageProblems, problemResponses } from '../schemas/problem-responses.js';
import { scoreExamples, scoreForm, scoreJson } from '../schemas/score.js';
import { serverTiming } from '../server-timing.js';
import type { ImageRouteOptions } from './captions.js';

export function scoreRoutes(app: FastifyInstance, options: ImageRouteOptions, done: () => void): void {
  const { captioner, scheduler, maxBodyBytes } = options;

  const response = {
    200: {
      description: 'The scores.',
      headers: timingHeaders,
      content: { 'application/json': { schema: ScoreResultSchema, examples: scoreExamples } },
    },
    ...problemResponses(...imageProblems),
  };
  const route = {
    onRequest: admit(scheduler, 'single', options),
    handler: (request: FastifyRequest, reply: FastifyReply): Promise<ScoreResult | FastifyReply> => {
      const context = admittedOf(request);
      return unlessAborted(context, reply, async () => {
        const parsed = await readRequest(request, { maxBytes: maxBodyBytes, maxImages: 1 });
        const image = onlyImage(parsed);
        const { texts } = parseScoreOptions(parsed);
        if (hasOptionsInBody(request) && queryOf(request).has('texts')) {
          throw invalidOption('texts belong in the form or JSON that the image is in.');
        }
        const result = await captioner.score(image, texts, context);
        reply.header('server-timing', serverTiming(result.timing));
        return result;
      });
    },
  };

  app.post('/v1/scores', {
    ...route,
    schema: {
      ...groupedParameters,
      operationId: 'createScore',
      tags: ['captions'],
      summary: 'Tell how well texts fit an image',
      description:
        'Is this alt text right? The image is the form field `image`, or its address is `url`; the field `texts` repeats. This path also takes an image as the body, with `texts` in the query, and the JSON of `POST /v1/scores/json`.',
      body: scoreForm,
      response,
    },
  });
  app.post('/v1/scores/json', {
    ...route,
    schema: {
      operationId: 'createScoreFromJson',
      tags: ['captions'],
      summary: 'Tell how well texts fit an image, sent in JSON',
      description: `The image is in base64, or given by its address. ${ownPathNote}`,
      body: scoreJson,
      response,
    },
  });
  done();
}
