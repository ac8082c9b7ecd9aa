import { endianness } from 'node:os';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { Captioner, RequestContext } from '../../captioner/captioner.js';
import type { ImageSource } from '../../captioner/image-source.js';
import { invalidOption } from '../../captioner/options.js';
import { ServiceError } from '../../errors.js';
import { admit, admittedOf, unlessAborted } from '../admission-hook.js';
import { sendProblemForOpenAi } from '../problem-details.js';
import { isModelName } from '../protocol.js';
import { tooManyImages } from '../request/parsed-request.js';
import {
  embeddingBody,
  embeddingExamples,
  type EmbeddingList,
  EmbeddingListSchema,
  maxCharacters,
  maxInputs,
} from '../schemas/embeddings.js';
import { imageProblems, problemResponses } from '../schemas/problem-responses.js';
import type { CaptionBatchRouteOptions } from './caption-batch.js';

export interface EmbeddingRouteOptions extends CaptionBatchRouteOptions {
  /** Names that the model answers to, beside its own. */
  readonly modelAliases: readonly string[];
}

/** What is embedded. */
type Input =
  { readonly kind: 'text'; readonly text: string } | { readonly kind: 'image'; readonly source: ImageSource };

/** Texts of one run of the model, so that single images do not wait for a thousand of them. */
const textsPerRun = 64;

export function embeddingRoutes(
  app: FastifyInstance,
  options: EmbeddingRouteOptions,
  done: () => void,
): void {
  const { captioner, scheduler, maxBatchImages, modelAliases } = options;

  app.post('/v1/embeddings', {
    schema: {
      operationId: 'createEmbeddings',
      tags: ['captions'],
      summary: 'Embed texts and images in one space, for search',
      description: `At most ${maxInputs} inputs, of which ${maxBatchImages} may be images. Texts shorter than 4,096 bytes count towards \`MAX_OPTIONS_BYTES\` together. Clients of OpenAI may send what they are used to: \`input\` is then a text, or a list of texts and of \`data:\` URLs of images, and with \`encoding_format\` \`base64\` a vector comes as the bytes of its little-endian float32 numbers.`,
      body: embeddingBody,
      response: {
        200: {
          description: 'The vectors.',
          content: { 'application/json': { schema: EmbeddingListSchema, examples: embeddingExamples } },
        },
        ...problemResponses(...imageProblems, 'not_found'),
      },
    },
    serializerCompiler: () => JSON.stringify,
    errorHandler: (error, request, reply) => {
      void sendProblemForOpenAi(error, request, reply);
    },
    onRequest: admit(scheduler, 'single', options),
    handler: (request, reply): Promise<EmbeddingList | FastifyReply> => {
      const context = admittedOf(request);
      return unlessAborted(context, reply, async () => {
        const { input, model, encoding_format: format, dimensions } = membersOf(request.body);
        const { bundle } = context.permit.model;
        checkModel(model, [bundle.id, ...modelAliases]);
        // Clients of OpenAI send null for what is left out.
        if ((format ?? 'float') !== 'float' && format !== 'base64') {
          throw invalidOption('encoding_format must be float or base64.');
        }
        if ((dimensions ?? bundle.dimensions.embedding) !== bundle.dimensions.embedding) {
          throw invalidOption(`dimensions must be ${bundle.dimensions.embedding}, or left out.`);
        }
        const inputs = (Array.isArray(input) ? input : [input]).map(readInput);
        if (inputs.length === 0 || inputs.length > maxInputs) {
          throw invalidOption(`input must have 1 to ${maxInputs} entries.`);
        }
        const images = inputs.filter(({ kind }) => kind === 'image').length;
        if (images > maxBatchImages) throw tooManyImages(maxBatchImages);
        // Many inputs wait behind single images, as a batch does.
        const priority = inputs.length === 1 ? 'single' : 'batch';
        const withPriority = (each: RequestContext): RequestContext => ({ ...each, priority });
        const ofImages = images > 1 ? context.splitForImages(images) : [context];
        const vectors = await embedAll(captioner, inputs, withPriority(context), ofImages.map(withPriority));
        const tokens = inputs.reduce((sum, each) => sum + wordsOf(each), 0);
        return {
          object: 'list' as const,
          data: vectors.map((vector, index) => ({
            object: 'embedding' as const,
            index,
            embedding: format === 'base64' ? toBase64(vector) : [...vector],
          })),
          model: typeof model === 'string' ? model : bundle.id,
          usage: { prompt_tokens: tokens, total_tokens: tokens },
        };
      });
    },
  });
  done();
}

function membersOf(body: unknown): Readonly<Record<string, unknown>> {
  if (typeof body !== 'object' || body === null || Array.isArray(body) || Buffer.isBuffer(body)) {
    throw new ServiceError('malformed_json', 'The body must be a JSON object.');
  }
  return Object.fromEntries(Object.entries(body));
}

function checkModel(model: unknown, names: readonly string[]): void {
  if (model === undefined) return;
  if (typeof model !== 'string') throw invalidOption('model must be text.');
  if (!isModelName(model, names)) {
    throw new ServiceError('not_found', `There is no such model; there is ${names.join(', ')}.`);
  }
}

function readInput(input: unknown): Input {
  if (typeof input === 'string') {
    return /^data:image\//i.test(input)
      ? { kind: 'image', source: { kind: 'base64', text: input } }
      : checkText(input);
  }
  if (typeof input === 'object' && input !== null && Object.keys(input).length === 1) {
    if ('image' in input) return { kind: 'image', source: { kind: 'base64', text: input.image } };
    if ('text' in input && typeof input.text === 'string') return checkText(input.text);
  }
  throw invalidOption(
    'input must be texts, data: URLs, or objects with either "image" or "text"; token numbers are not taken.',
  );
}

function checkText(text: string): Input {
  if (text === '' || text.length > maxCharacters) {
    throw invalidOption(`Each text of input must have 1 to ${maxCharacters} characters.`);
  }
  return { kind: 'text', text };
}

/**
 * The vectors in the order of the inputs. Texts are embedded one part after the other.
 *
 * @param ofImages a context for each image
 */
async function embedAll(
  captioner: Captioner,
  inputs: readonly Input[],
  context: RequestContext,
  ofImages: readonly RequestContext[],
): Promise<Float32Array[]> {
  const vectors: Float32Array[] = [];
  const images = inputs.flatMap((input, index) =>
    input.kind === 'image' ? [{ index, source: input.source }] : [],
  );
  const texts = inputs.flatMap((input, index) =>
    input.kind === 'text' ? [{ index, text: input.text }] : [],
  );

  async function embedTexts(): Promise<void> {
    for (let start = 0; start < texts.length; start += textsPerRun) {
      const part = texts.slice(start, start + textsPerRun);
      const embedded = await captioner.embedTexts(
        part.map(({ text }) => text),
        context,
      );
      for (const [row, vector] of embedded.entries()) vectors[part[row]?.index ?? 0] = vector;
    }
  }
  await Promise.all([
    embedTexts(),
    ...images.map(async ({ index, source }, number) => {
      vectors[index] = await captioner.embedImage(source, ofImages[number] ?? context);
    }),
  ]);
  return vectors;
}

function wordsOf(input: Input): number {
  return input.kind === 'text' ? input.text.trim().split(/\s+/).length : 1;
}

/** Little-endian, as clients read it. */
function toBase64(vector: Float32Array): string {
  const bytes = Buffer.from(
    Uint8Array.from(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength)),
  );
  if (endianness() === 'BE') bytes.swap32();
  return bytes.toString('base64');
}
