import { addImageRoute, type Protocol } from '../../http/protocol.js';
import type { ImageSource } from '../../captioner/image-source.js';
import { describe, type Description, imageNeeded } from '../describe.js';
import { imagesOfTexts } from '../images.js';
import { chooseModel } from '../models.js';
import { isObject, jsonBody, type JsonObject, listOf, optionalText } from '../permissive.js';
import { describeAsJson, fillSchema } from '../structured-output.js';
import { generation, inLines } from './generation.js';
import { addModelRoutes } from './models.js';

/** Ollama's API, as its `api/types.go` and `server/routes.go` have it. */
export const ollama: Protocol = {
  name: 'ollama',
  description: 'Ollama: `/api/generate`, `/api/chat`, `/api/tags`, `/api/show`, `/api/ps`, `/api/version`.',
  formatError: ({ detail }) => ({ body: { error: detail } }),
  routes(app, options) {
    addImageRoute(
      app,
      ['POST', '/api/generate'],
      {
        summary: 'Caption images',
        description: 'The prompt has no effect; `format` is `json` or a JSON schema.',
        body: exampleBody({
          model: 'MODEL',
          prompt: 'Describe this image',
          images: ['(base64)'],
          stream: false,
        }),
      },
      options,
      async (request, reply, context) => {
        const body = jsonBody(request);
        const model = chooseModel(optionalText(body['model'], 'model'), options);
        const images = imagesOfTexts(listOf(body['images']));
        const isLoading = images.length === 0 && optionalText(body['prompt'], 'prompt') === undefined;
        const said = images.length === 0 ? undefined : await describe(images, options, context);
        const answer = generation(said, context.startedAt);
        const head = { model, created_at: new Date().toISOString() };
        if (isLoading) return { ...head, response: '', done: true, done_reason: 'load' };
        const response = textOf(body, said);
        // comfyui-ollama reads `context` of every answer.
        const end = { ...answer, context: [] };
        if (body['stream'] === false) return { ...head, response, ...end };
        return inLines(reply, [
          { ...head, response, done: false },
          { ...head, response: '', ...end },
        ]);
      },
    );
    addImageRoute(
      app,
      ['POST', '/api/chat'],
      {
        summary: 'Caption the images of the last message that has some',
        description: 'Texts and tools have no effect; `format` is `json` or a JSON schema.',
        body: exampleBody({
          model: 'MODEL',
          messages: [{ role: 'user', content: 'Describe this image', images: ['(base64)'] }],
          stream: false,
        }),
      },
      options,
      async (request, reply, context) => {
        const body = jsonBody(request);
        const model = chooseModel(optionalText(body['model'], 'model'), options);
        const images = imagesOfChat(body);
        const messages = listOf(body['messages']);
        const said = images.length === 0 ? undefined : await describe(images, options, context);
        const end = generation(said, context.startedAt);
        const head = { model, created_at: new Date().toISOString() };
        const messageOf = (content: string) => ({ message: { role: 'assistant', content } });
        if (messages.length === 0 && images.length === 0) {
          return { ...head, ...messageOf(''), done: true, done_reason: 'load' };
        }
        const content = textOf(body, said);
        if (body['stream'] === false) return { ...head, ...messageOf(content), ...end };
        return inLines(reply, [
          { ...head, ...messageOf(content), done: false },
          { ...head, ...messageOf(''), ...end },
        ]);
      },
    );
    addModelRoutes(app, options);
  },
};

/** Clients send a conversation whole each time, so the images that are asked about are those of the last message with some. */
function imagesOfChat(body: JsonObject): ImageSource[] {
  const ofMessages = listOf(body['messages']).map((message) =>
    isObject(message) ? listOf(message['images']) : [],
  );
  // LLM Vision repeats the message's images at the top.
  return imagesOfTexts([
    ...(ofMessages.findLast((images) => images.length > 0) ?? []),
    ...listOf(body['images']),
  ]);
}

/** The answer's text, in the form of `format`. Throws ServiceError invalid_option. */
function textOf({ format }: JsonObject, said: Description | undefined): string {
  if (said === undefined) return imageNeeded;
  if (format === 'json') return describeAsJson(said);
  return isObject(format) ? fillSchema(format, said) : (said.caption ?? '');
}

function exampleBody(example: JsonObject): object {
  return { type: 'object', additionalProperties: true, examples: [example] };
}
