import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { AdmittedRequest } from '../../http/admission-hook.js';
import { addImageRoute, type ProtocolOptions } from '../../http/protocol.js';
import { invalidOption } from '../../captioner/options.js';
import { describe } from '../describe.js';
import { queryOf, refuseOtherLanguages } from '../permissive.js';
import { featuresOf, imageOf } from './request.js';

/** Computer Vision 3.2: `analyze` and `describe`. */
export function addDescribeRoutes(app: FastifyInstance, options: ProtocolOptions): void {
  async function analyze(request: FastifyRequest, context: AdmittedRequest) {
    const query = queryOf(request);
    refuseOtherLanguages(query.get('language'));
    featuresOf(query.get('details'), []);
    const asked = query.get('maxCandidates');
    const candidates = asked === null ? 1 : Number(asked);
    if (!Number.isInteger(candidates) || candidates < 1)
      throw invalidOption('maxCandidates must be 1 or more.');
    const { results } = await describe([imageOf(request)], options, context, {
      candidates: Math.min(candidates, 10),
    });
    const [result] = results;
    if (result === undefined) throw new Error('an image has no result');
    const { bundle } = context.permit.model;
    const tags = result.tags ?? [];
    const captions = result.caption === null ? [] : result.captions;
    return {
      description: {
        tags: tags.map(({ word }) => word),
        captions: captions.map(({ text, confidence }) => ({ text, confidence })),
      },
      tags: tags.map(({ word, probability }) => ({ name: word, confidence: probability })),
      common: {
        requestId: request.id,
        metadata: { width: result.image.width, height: result.image.height, format: result.image.format },
        modelVersion: `${bundle.id}-${bundle.version}`,
      },
    };
  }
  const body = {
    type: 'object',
    additionalProperties: true,
    examples: [{ url: 'https://example.org/a.jpg' }],
  };

  addImageRoute(
    app,
    ['POST', '/vision/v3.2/analyze'],
    {
      summary: 'Computer Vision 3.2: analyze',
      description: 'The body is the image, or `{"url": …}`. Features: `Description`, `Tags`.',
      querystring: {
        type: 'object',
        properties: { visualFeatures: { type: 'string' }, language: { type: 'string' } },
      },
      body,
    },
    options,
    async (request, _reply, context) => {
      const features = featuresOf(queryOf(request).get('visualFeatures'), ['Description', 'Tags']);
      if (features.size === 0)
        throw invalidOption('Say in visualFeatures what is wanted: Description, Tags.');
      const { description, tags, common } = await analyze(request, context);
      return {
        ...(features.has('description') && { description }),
        ...(features.has('tags') && { tags }),
        ...common,
      };
    },
  );
  addImageRoute(
    app,
    ['POST', '/vision/v3.2/describe'],
    {
      summary: 'Computer Vision 3.2: describe',
      querystring: {
        type: 'object',
        properties: { maxCandidates: { type: 'integer' }, language: { type: 'string' } },
      },
      body,
    },
    options,
    async (request, _reply, context) => {
      const { description, common } = await analyze(request, context);
      return { description, ...common };
    },
  );
}
