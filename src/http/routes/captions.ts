import type { FastifyInstance, FastifyReply } from 'fastify';
import { captionImage } from '../captions/caption-image.js';
import { readCaptionOptions } from '../captions/caption-options.js';
import { captionBody, captionExamples, captionQuery } from '../schemas/caption-request.js';
import { type CaptionResult, CaptionResultSchema } from '../schemas/caption-result.js';
import { imageProblems, problemResponses } from '../schemas/problem.js';
import { timingHeaders } from '../schemas/result-parts.js';
import { serverTiming } from '../server-timing.js';
import { admissionOf, type AdmissionSettings, admit, whileWanted } from '../submission/admission.js';
import type { ImageWay } from '../submission/read-pixels.js';
import { readSubmission } from '../submission/read-submission.js';
import { onlyImage } from '../submission/submission.js';

export interface CaptionRouteOptions extends AdmissionSettings {
  readonly way: ImageWay;
}

export function captionRoutes(app: FastifyInstance, options: CaptionRouteOptions, done: () => void): void {
  const { way, maxBodyBytes } = options;
  const { engine } = way;

  app.post('/v1/captions', {
    schema: {
      operationId: 'createCaption',
      tags: ['captions'],
      summary: 'Caption one image',
      description:
        'Send the image as the form field `image`, as the body with its own type, or in base64 in JSON. Options are form fields, JSON members, or the query.',
      querystring: captionQuery,
      body: captionBody,
      response: {
        200: {
          description: 'The caption.',
          headers: timingHeaders,
          content: { 'application/json': { schema: CaptionResultSchema, examples: captionExamples } },
        },
        ...problemResponses(...imageProblems),
      },
    },
    // Options come from three places and are checked together, against the same schema (captions/read-options.ts).
    validatorCompiler: () => () => true,
    onRequest: admit(engine, 'single', options),
    handler: (request, reply): Promise<CaptionResult | FastifyReply> => {
      const admission = admissionOf(request);
      return whileWanted(admission, reply, async () => {
        const submission = await readSubmission(request, { maxBytes: maxBodyBytes, maxImages: 1 });
        const image = onlyImage(submission);
        const asked = readCaptionOptions(submission, admission.reservation.model.bundle.decoding.maxLength);
        const result = await captionImage(way, image, asked, admission);
        reply.header('server-timing', serverTiming(result.timing));
        return result;
      });
    },
  });
  done();
}
