import type { FastifyInstance, FastifyReply } from 'fastify';
import { Type } from 'typebox';
import { imageProblems, problemResponses } from '../schemas/problem.js';
import {
  scoreBody,
  scoreExamples,
  ScoreOptionsSchema,
  type ScoreResult,
  ScoreResultSchema,
} from '../schemas/score.js';
import { timingHeaders } from '../schemas/result-parts.js';
import { serverTiming } from '../server-timing.js';
import { scoreImage } from '../scores/score-image.js';
import { admissionOf, type AdmissionSettings, admit, whileWanted } from '../submission/admission.js';
import { createOptionReader, invalidOption } from '../submission/read-options.js';
import type { ImageWay } from '../submission/read-pixels.js';
import { hasOptionsInBody, queryOf, readSubmission } from '../submission/read-submission.js';
import { onlyImage } from '../submission/submission.js';

export interface ScoreRouteOptions extends AdmissionSettings {
  readonly way: ImageWay;
}

const readScoreOptions = createOptionReader(ScoreOptionsSchema);

export function scoreRoutes(app: FastifyInstance, options: ScoreRouteOptions, done: () => void): void {
  const { way, maxBodyBytes } = options;

  app.post('/v1/scores', {
    schema: {
      operationId: 'createScore',
      tags: ['captions'],
      summary: 'Tell how well texts fit an image',
      description:
        'Is this alt text right? Send an image in one of the ways of `POST /v1/captions`, and `texts` as form fields or JSON member, or in the query of an image that is the body.',
      querystring: Type.Partial(ScoreOptionsSchema),
      body: scoreBody,
      response: {
        200: {
          description: 'The scores.',
          headers: timingHeaders,
          content: { 'application/json': { schema: ScoreResultSchema, examples: scoreExamples } },
        },
        ...problemResponses(...imageProblems),
      },
    },
    // Texts come from three places and are checked together, against the same schema.
    validatorCompiler: () => () => true,
    onRequest: admit(way.engine, 'single', options),
    handler: (request, reply): Promise<ScoreResult | FastifyReply> => {
      const admission = admissionOf(request);
      return whileWanted(admission, reply, async () => {
        const submission = await readSubmission(request, { maxBytes: maxBodyBytes, maxImages: 1 });
        const image = onlyImage(submission);
        const { texts } = readScoreOptions(submission);
        if (hasOptionsInBody(request) && queryOf(request).has('texts')) {
          throw invalidOption('texts belong in the form or JSON that the image is in.');
        }
        const result = await scoreImage(way, image, texts, admission);
        reply.header('server-timing', serverTiming(result.timing));
        return result;
      });
    },
  });
  done();
}
