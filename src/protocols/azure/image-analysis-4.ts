import type { FastifyInstance } from 'fastify';
import { maxRegions, type Region, wholeImage } from '../../captioner/regions.js';
import { type CaptionOptions, invalidOption, parseCaptionOptions } from '../../captioner/options.js';
import { addImageRoute, type ProtocolOptions } from '../../http/protocol.js';
import { describe } from '../describe.js';
import { queryOf, refuseOtherLanguages } from '../permissive.js';
import { featuresOf, imageOf } from './request.js';

export function addAnalyzeRoute(app: FastifyInstance, options: ProtocolOptions): void {
  addImageRoute(
    app,
    ['POST', '/computervision/imageanalysis::analyze'],
    {
      summary: 'Image Analysis 4.0',
      description: 'The body is the image, or `{"url": …}`. Features: `caption`, `denseCaptions`, `tags`.',
      querystring: {
        type: 'object',
        properties: {
          'api-version': { type: 'string' },
          features: { type: 'string', examples: ['caption,tags'] },
          language: { type: 'string' },
          'gender-neutral-caption': { type: 'boolean' },
        },
      },
      body: { type: 'object', additionalProperties: true, examples: [{ url: 'https://example.org/a.jpg' }] },
    },
    options,
    async (request, _reply, context) => {
      const query = queryOf(request);
      const features = featuresOf(query.get('features'), ['caption', 'denseCaptions', 'tags']);
      if (features.size === 0)
        throw invalidOption('Say in features what is wanted: caption, denseCaptions, tags.');
      if (query.has('model-name')) throw invalidOption('model-name: there are no custom models.');
      refuseOtherLanguages(query.get('language'));
      const asked = { genderNeutral: query.get('gender-neutral-caption')?.toLowerCase() === 'true' };
      const image = imageOf(request);
      const { bundle } = context.permit.model;
      const found = features.has('densecaptions')
        ? await captionDensely(image, options, context, asked)
        : { whole: firstOf((await describe([image], options, context, asked)).results), regions: [] };
      const { whole, regions } = found;
      const { width, height } = whole.image;
      const boxOf = ({ left, top, width: share, height: tall }: Region) => ({
        x: Math.round(left * width),
        y: Math.round(top * height),
        w: Math.round(share * width),
        h: Math.round(tall * height),
      });
      return {
        modelVersion: `${bundle.id}-${bundle.version}`,
        metadata: { width, height },
        ...(features.has('caption') && {
          captionResult: { text: whole.caption ?? '', confidence: whole.confidence },
        }),
        ...(features.has('densecaptions') && {
          denseCaptionsResult: {
            values: [{ region: wholeImage, result: whole }, ...regions].flatMap(({ region, result }) =>
              result.caption === null
                ? []
                : [{ text: result.caption, confidence: result.confidence, boundingBox: boxOf(region) }],
            ),
          },
        }),
        ...(features.has('tags') && {
          tagsResult: {
            values: (whole.tags ?? []).map(({ word, probability }) => ({
              name: word,
              confidence: probability,
            })),
          },
        }),
      };
    },
  );
}

/** Captions the image and its regions, each with a permit of its own; no more than the service may ever have. */
async function captionDensely(
  image: ReturnType<typeof imageOf>,
  { captioner, minConfidence, maxImages }: ProtocolOptions,
  context: Parameters<typeof describe>[2],
  asked: Partial<CaptionOptions>,
) {
  const members = { minConfidence, ...asked };
  const options = parseCaptionOptions({ texts: [], members }, context.permit.model.bundle.decoding.maxLength);
  const [first, ...others] = context.splitForImages(Math.min(1 + maxRegions, maxImages));
  if (first === undefined) throw new Error('a request has no permit');
  return captioner.captionRegions(image, options, [first, ...others]);
}

function firstOf<T>([first]: readonly T[]): T {
  if (first === undefined) throw new Error('an image has no result');
  return first;
}
