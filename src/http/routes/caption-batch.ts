import { Readable } from 'node:stream';
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { abortError } from '../../promises.js';
import type { Captioner, RequestContext } from '../../captioner/captioner.js';
import type { ImageSource } from '../../captioner/image-source.js';
import { type CaptionOptions, parseCaptionOptions } from '../../captioner/options.js';
import { admit, admittedOf, clientDisconnected, unlessAborted } from '../admission-hook.js';
import { problemDocument, reportProblem } from '../problem-details.js';
import { readBatch } from '../request/read.js';
import {
  type BatchEntry,
  captionBatchContent,
  captionBatchForm,
  captionBatchJson,
} from '../schemas/caption-batch.js';
import { groupedParameters, ownPathNote } from '../schemas/image.js';
import { imageProblems, problemResponses } from '../schemas/problem-responses.js';
import type { ImageRouteOptions } from './captions.js';

export interface CaptionBatchRouteOptions extends ImageRouteOptions {
  readonly maxBatchImages: number;
}

const ndjson = 'application/x-ndjson';
const entriesNote = `An image that fails has its problem in its own entry, and the others are captioned. With \`Accept: ${ndjson}\` each entry is sent as a line of its own as soon as it is done. Images of a batch wait while single ones are captioned.`;

export function captionBatchRoutes(
  app: FastifyInstance,
  options: CaptionBatchRouteOptions,
  done: () => void,
): void {
  const { captioner, scheduler, maxBodyBytes, maxBatchImages } = options;

  const response = {
    200: { description: 'An entry for each image.', content: captionBatchContent },
    ...problemResponses(...imageProblems),
  };
  const route = {
    serializerCompiler: () => JSON.stringify,
    onRequest: admit(scheduler, 'batch', options),
    handler: (
      request: FastifyRequest,
      reply: FastifyReply,
    ): Promise<{ results: BatchEntry[] } | Readable | FastifyReply> => {
      const context = admittedOf(request);
      return unlessAborted(context, reply, async () => {
        const parsed = await readBatch(request, {
          maxBytes: maxBodyBytes,
          maxImages: maxBatchImages,
          onImage(images) {
            context.permit.requireRoomFor(images);
          },
        });
        const contexts = context.splitForImages(parsed.images.length);
        const asked = parseCaptionOptions(parsed, context.permit.model.bundle.decoding.maxLength);
        const entries = contexts.map((own, index) =>
          captionEntry(captioner, { index, source: parsed.images[index], options: asked }, own, request),
        );
        if (request.accepts().type(['application/json', ndjson]) !== ndjson) {
          return { results: await Promise.all(entries) };
        }
        // Rejects when the client leaves before there is anything to send.
        await Promise.race(entries);
        // nginx, and what is built on it, would gather the lines until its buffer is full.
        return reply.type(ndjson).header('x-accel-buffering', 'no').send(linesOf(entries));
      });
    },
  };

  app.post('/v1/captions/batch', {
    ...route,
    schema: {
      ...groupedParameters,
      operationId: 'createCaptionBatch',
      tags: ['captions'],
      summary: 'Caption several images',
      description: `At most ${maxBatchImages} images; options hold for all of them. ${entriesNote} This path also takes options in the query, and the JSON of \`POST /v1/captions/batch/json\`.`,
      body: captionBatchForm(maxBatchImages),
      response,
    },
  });
  app.post('/v1/captions/batch/json', {
    ...route,
    schema: {
      operationId: 'createCaptionBatchFromJson',
      tags: ['captions'],
      summary: 'Caption several images, sent in JSON',
      description: `At most ${maxBatchImages} images, in base64 or given by their addresses. ${entriesNote} ${ownPathNote}`,
      body: captionBatchJson(maxBatchImages),
      response,
    },
  });
  done();
}

interface EntryRequest {
  readonly index: number;
  readonly source: ImageSource | undefined;
  readonly options: CaptionOptions;
}

/** Captions one image of a batch. What goes wrong is its own entry's problem; rejects only when the client has gone. */
async function captionEntry(
  captioner: Captioner,
  { index, source, options }: EntryRequest,
  context: RequestContext,
  { id, log }: { readonly id: string; readonly log: FastifyBaseLogger },
): Promise<BatchEntry> {
  const { permit, signal } = context;
  try {
    if (source === undefined) throw new Error('a batch has fewer images than permits');
    return { index, outcome: 'captioned', result: await captioner.caption(source, options, context) };
  } catch (error) {
    if (clientDisconnected(signal)) throw error;
    // At the deadline parts fail in ways of their own; the reason is the same.
    const cause = signal.aborted ? abortError(signal) : error;
    return {
      index,
      outcome: 'failed',
      error: problemDocument(reportProblem(cause, log.child({ index })), id),
    };
  } finally {
    permit.release();
  }
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
