import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Captioner } from '../../captioner/captioner.js';
import { parseCaptionOptions } from '../../captioner/options.js';
import { type CaptionResult, CaptionResultSchema } from '../../captioner/results.js';
import type { Scheduler } from '../../scheduler/scheduler.js';
import { type AdmissionSettings, admit, admittedOf, unlessAborted } from '../admission-hook.js';
import { onlyImage } from '../request/parsed-request.js';
import { readRequest } from '../request/read.js';
import { captionExamples, captionForm, captionJson } from '../schemas/caption-request.js';
import { groupedParameters, ownPathNote, timingHeaders } from '../schemas/image.js';
import { imageProblems, problemResponses } from '../schemas/problem-responses.js';
import { serverTiming } from '../server-timing.js';

/** What the routes that take images need. */
export interface ImageRouteOptions extends AdmissionSettings {
  readonly captioner: Captioner;
  readonly scheduler: Scheduler;
}

export function captionRoutes(app: FastifyInstance, options: ImageRouteOptions, done: () => void): void {
  const { captioner, scheduler, maxBodyBytes } = options;

  const response = {
    200: {
      description: 'The caption.',
      headers: timingHeaders,
      content: { 'application/json': { schema: CaptionResultSchema, examples: captionExamples } },
    },
    ...problemResponses(...imageProblems),
  };
  const route = {
    onRequest: admit(scheduler, 'single', options),
    handler: (request: FastifyRequest, reply: FastifyReply): Promise<CaptionResult | FastifyReply> => {
      const context = admittedOf(request);
      return unlessAborted(context, reply, async () => {
        const parsed = await readRequest(request, { maxBytes: maxBodyBytes, maxImages: 1 });
        const image = onlyImage(parsed);
        const asked = parseCaptionOptions(parsed, context.permit.model.bundle.decoding.maxLength);
        const result = await captioner.caption(image, asked, context);
        reply.header('server-timing', serverTiming(result.timing));
        return result;
      });
    },
  };

  app.post('/v1/captions', {
    ...route,
    schema: {
      ...groupedParameters,
      operationId: 'createCaption',
      tags: ['captions'],
      summary: 'Caption one image',
      description:
        'The image is the form field `image`, or its address is `url`; options are the other fields. This path also takes an image as the body, with its own type (`image/…` or `application/octet-stream`) and options in the query, and the JSON of `POST /v1/captions/json`.',
      body: captionForm,
      response,
    },
  });
  app.post('/v1/captions/json', {
    ...route,
    schema: {
      operationId: 'createCaptionFromJson',
      tags: ['captions'],
      summary: 'Caption one image, sent in JSON',
      description: `The image is in base64, or given by its address. ${ownPathNote}`,
      body: captionJson,
      response,
    },
  });
  done();
}
