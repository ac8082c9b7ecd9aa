import type { FastifyInstance } from 'fastify';
import { addImageRoute, type ProtocolOptions } from '../../http/protocol.js';
import { invalidOption } from '../../captioner/options.js';
import { describe } from '../describe.js';
import { chooseModel } from '../models.js';
import { isObject, jsonBody, optionalText } from '../permissive.js';
import { sendEvents } from './events.js';
import { imagesOfMessages, refuseToolCalls, textOf, usageOf } from './request.js';

export function addResponsesRoute(app: FastifyInstance, options: ProtocolOptions): void {
  addImageRoute(
    app,
    ['POST', '/v1/responses'],
    {
      summary: 'Caption the images of the last message of the input that has some',
      description:
        'Texts have no effect, nothing is stored. `text.format` is `json_object` or `json_schema`.',
      body: {
        type: 'object',
        additionalProperties: true,
        examples: [
          {
            model: 'MODEL',
            input: [
              {
                role: 'user',
                content: [
                  { type: 'input_text', text: 'Describe this image' },
                  { type: 'input_image', image_url: 'data:image/jpeg;base64,…' },
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
      if (optionalText(body['previous_response_id'], 'previous_response_id') !== undefined) {
        throw invalidOption('previous_response_id: nothing is stored here, send the image again.');
      }
      if (body['background'] === true) throw invalidOption('background must be false.');
      refuseToolCalls(body['tool_choice']);
      const images = imagesOfMessages(body['input']);
      const said = images.length === 0 ? undefined : await describe(images, options, context);
      const format = isObject(body['text']) ? (body['text']['format'] ?? plainText) : plainText;
      const text = textOf(format, said);
      const { rows, columns } = context.permit.model.bundle.grid;
      const { input, output } = usageOf(said, rows * columns, text);
      const part = { type: 'output_text', text, annotations: [], logprobs: [] };
      const item = {
        type: 'message',
        id: `msg_${request.id}`,
        status: 'completed',
        role: 'assistant',
        content: [part],
      };
      const pending = {
        id: `resp_${request.id}`,
        object: 'response',
        created_at: Math.floor(Date.now() / 1000),
        status: 'in_progress',
        background: false,
        error: null,
        incomplete_details: null,
        instructions: null,
        max_output_tokens: null,
        metadata: {},
        model,
        output: [],
        parallel_tool_calls: false,
        previous_response_id: null,
        reasoning: { effort: null, summary: null },
        store: false,
        temperature: 1,
        text: { format },
        tool_choice: 'none',
        tools: [],
        top_p: 1,
        truncation: 'disabled',
        usage: null,
      };
      const completed = {
        ...pending,
        status: 'completed',
        completed_at: Math.floor(Date.now() / 1000),
        output: [item],
        usage: {
          input_tokens: input,
          input_tokens_details: { cached_tokens: 0 },
          output_tokens: output,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: input + output,
        },
      };
      if (body['stream'] !== true) return completed;
      const at = { item_id: item.id, output_index: 0, content_index: 0 };
      const events: readonly [type: string, members: object][] = [
        ['response.created', { response: pending }],
        ['response.in_progress', { response: pending }],
        [
          'response.output_item.added',
          { output_index: 0, item: { ...item, status: 'in_progress', content: [] } },
        ],
        ['response.content_part.added', { ...at, part: { ...part, text: '' } }],
        ['response.output_text.delta', { ...at, delta: text, logprobs: [] }],
        ['response.output_text.done', { ...at, text, logprobs: [] }],
        ['response.content_part.done', { ...at, part }],
        ['response.output_item.done', { output_index: 0, item }],
        ['response.completed', { response: completed }],
      ];
      return sendEvents(
        reply,
        events.map(
          ([type, members], index) =>
            `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: index, ...members })}\n\n`,
        ),
      );
    },
  );
}

const plainText = { type: 'text' };
