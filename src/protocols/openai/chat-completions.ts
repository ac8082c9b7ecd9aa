import type { FastifyInstance } from 'fastify';
import { addImageRoute, type ProtocolOptions } from '../../http/protocol.js';
import { invalidOption } from '../../captioner/options.js';
import { describe } from '../describe.js';
import { chooseModel } from '../models.js';
import { isObject, jsonBody, optionalText } from '../permissive.js';
import { sendEvents } from './events.js';
import { imagesOfMessages, refuseToolCalls, textOf, usageOf } from './request.js';

export function addChatRoute(app: FastifyInstance, options: ProtocolOptions): void {
  addImageRoute(
    app,
    ['POST', '/v1/chat/completions'],
    {
      summary: 'Caption the images of the last message that has some',
      description:
        'Texts have no effect. `response_format` is `json_object` or `json_schema`, which is filled by the names of its fields.',
      body: {
        type: 'object',
        additionalProperties: true,
        examples: [
          {
            model: 'MODEL',
            messages: [
              {
                role: 'user',
                content: [
                  { type: 'text', text: 'Describe this image' },
                  { type: 'image_url', image_url: { url: 'data:image/jpeg;base64,…' } },
                ],
              },
            ],
          },
        ],
      },
    },
    options,
    async (request, reply, context) => {
      const body = jsonBody(request);
      const model = chooseModel(optionalText(body['model'], 'model'), options);
      if (typeof body['n'] === 'number' && body['n'] > 1) throw invalidOption('n must be 1.');
      refuseToolCalls(body['tool_choice']);
      const images = imagesOfMessages(body['messages']);
      const said = images.length === 0 ? undefined : await describe(images, options, context);
      const content = textOf(body['response_format'], said);
      const { rows, columns } = context.permit.model.bundle.grid;
      const { input, output } = usageOf(said, rows * columns, content);
      const usage = { prompt_tokens: input, completion_tokens: output, total_tokens: input + output };
      const refusal = said?.caption === null ? notConfident : null;
      const head = { id: `chatcmpl-${request.id}`, created: Math.floor(Date.now() / 1000), model };
      if (body['stream'] !== true) {
        const message = { role: 'assistant', content, refusal };
        const choices = [{ index: 0, message, logprobs: null, finish_reason: 'stop' }];
        return { ...head, object: 'chat.completion', choices, usage };
      }
      const { stream_options: streamOptions } = body;
      const wantsUsage = isObject(streamOptions) && streamOptions['include_usage'] === true;
      const chunk = (choices: object[], also: object = {}) =>
        `data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', choices, ...also })}\n\n`;
      const delta = (part: object, reason: string | null) =>
        chunk(
          [{ index: 0, delta: part, logprobs: null, finish_reason: reason }],
          wantsUsage ? { usage: null } : {},
        );
      return sendEvents(reply, [
        delta({ role: 'assistant', content: '', refusal: null }, null),
        delta({ content, ...(refusal !== null && { refusal }) }, null),
        delta({}, 'stop'),
        ...(wantsUsage ? [chunk([], { usage })] : []),
        'data: [DONE]\n\n',
      ]);
    },
  );
}

/** Said in place of a caption below the operator's least confidence. */
const notConfident = 'The model is not confident enough of any caption for this image.';
