import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type BatchEntry, captionBatch } from '../captions/caption-batch.js';
import { readCaptionOptions } from '../captions/caption-options.js';
import { captionBatchBody, captionBatchContent } from '../schemas/caption-batch.js';
import { captionQuery } from '../schemas/caption-request.js';
import { imageProblems, problemResponses } from '../schemas/problem.js';
import { admissionOf, type AdmissionSettings, admit, whileWanted } from '../submission/admission.js';
import type { ImageWay } from '../submission/read-pixels.js';
import { readBatch } from '../submission/read-submission.js';

export interface CaptionBatchRouteOptions extends AdmissionSettings {
  readonly way: ImageWay;
  readonly maxBatchImages: number;
}

const ndjson = 'application/x-ndjson';

export function captionBatchRoutes(
  app: FastifyInstance,
  options: CaptionBatchRouteOptions,
  done: () => void,
): void {
  const { way, maxBodyBytes, maxBatchImages } = options;

  app.post('/v1/captions/batch', {
    schema: {
      operationId: 'createCaptionBatch',
      tags: ['captions'],
      summary: 'Caption several images',
      description: `At most ${maxBatchImages} images, as form fields \`image\` or in JSON; options hold for all of them. An image that fails has its problem in its own entry, and the others are captioned. With \`Accept: ${ndjson}\` each entry is sent as a line of its own as soon as it is done. Images of a batch wait while single ones are captioned.`,
      querystring: captionQuery,
      body: captionBatchBody(maxBatchImages),
      response: {
        200: { description: 'An entry for each image.', content: captionBatchContent },
        ...problemResponses(...imageProblems),
      },
    },
    // Options come from three places and are checked together, against the same schema.
    validatorCompiler: () => () => true,
    serializerCompiler: () => JSON.stringify,
    onRequest: admit(way.engine, 'batch', options),
    handler: (request, reply): Promise<{ results: BatchEntry[] } | Readable | FastifyReply> => {
      const admission = admissionOf(request);
      return whileWanted(admission, reply, async () => {
        const limits = { maxBytes: maxBodyBytes, maxImages: maxBatchImages };
        const submission = await readBatch(request, limits);
        admission.admitEach(submission.images.length);
        const { bundle } = admission.reservation.model;
        const asked = readCaptionOptions(submission, bundle.decoding.maxLength);
        const entries = captionBatch(way, submission.images, asked, {
          admission,
          requestId: request.id,
          log: request.log,
        });
        if (request.accepts().type(['application/json', ndjson]) !== ndjson) {
          return { results: await Promise.all(entries) };
        }
        // Rejects when the client leaves before there is anything to send.
        await Promise.race(entries);
        // nginx, and what is built on it, would gather the lines until its buffer is full.
        return reply.type(ndjson).header('x-accel-buffering', 'no').send(linesOf(entries));
      });
    },
  });
  done();
}

/**
 * A line of JSON for each entry, in the order in which they settle; none when the client has gone. Entries are few, so
 * all may wait for a slow reader.
 */
function linesOf(entries: readonly Promise<BatchEntry>[]): Readable {
  const lines = new Readable({ read: () => undefined });
  const written = entries.map(async (entry) => lines.push(`${JSON.stringify(await entry)}\n`));
  void Promise.allSettled(written).then(() => lines.push(null));
  return lines;
}
