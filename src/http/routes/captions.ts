import type { FastifyInstance, FastifyReply } from 'fastify';
import { admissionOf, type AdmissionSettings, admit, whileWanted } from '../captions/admission.js';
import { captionImage, type Captioning } from '../captions/caption-image.js';
import { readOptions } from '../captions/read-options.js';
import { readSubmission } from '../captions/read-submission.js';
import { onlyImage } from '../captions/submission.js';
import { captionBody, captionExamples, captionQuery } from '../schemas/caption-request.js';
import { type CaptionResult, CaptionResultSchema } from '../schemas/caption-result.js';
import { problemResponses } from '../schemas/problem.js';

export interface CaptionRouteOptions extends AdmissionSettings {
  readonly captioning: Captioning;
}

export function captionRoutes(app: FastifyInstance, options: CaptionRouteOptions, done: () => void): void {
  const { captioning, maxBodyBytes } = options;
  const { engine } = captioning;
  app.decorateRequest('admission', null);

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
          content: { 'application/json': { schema: CaptionResultSchema, examples: captionExamples } },
        },
        ...problemResponses(
          'missing_image',
          'too_many_images',
          'empty_image',
          'malformed_json',
          'malformed_multipart',
          'invalid_base64',
          'invalid_option',
          'url_not_allowed',
          'body_too_large',
          'unsupported_media_type',
          'unsupported_image_format',
          'image_unreadable',
          'image_too_many_pixels',
          'image_crashes_model',
          'internal',
          'queue_full',
          'not_ready',
          'draining',
          'deadline_exceeded',
        ),
      },
    },
    // Options come from three places and are checked together, against the same schema (captions/read-options.ts).
    validatorCompiler: () => () => true,
    onRequest: admit(engine, { images: 1, priority: 'single' }, options),
    handler: (request, reply): Promise<CaptionResult | FastifyReply> => {
      const admission = admissionOf(request);
      return whileWanted(admission, reply, async () => {
        const submission = await readSubmission(request, { maxBytes: maxBodyBytes, maxImages: 1 });
        const image = onlyImage(submission);
        const asked = readOptions(submission, engine.bundle.decoding.maxLength);
        return captionImage(captioning, image, asked, admission);
      });
    },
  });
  done();
}
