import type { CaptionResult, Tag } from '../captioner/results.js';
import type { ImageSource } from '../captioner/image-source.js';
import { type CaptionOptions, parseCaptionOptions } from '../captioner/options.js';
import { ServiceError } from '../errors.js';
import type { AdmittedRequest } from '../http/admission-hook.js';
import type { ProtocolOptions } from '../http/protocol.js';

/** What is said about the images of one request. */
export interface Description {
  /** The captions in the order of the images, as sentences; null where the model is not confident of any. */
  readonly caption: string | null;
  /** That of the least certain caption. */
  readonly confidence: number;
  /** Of all images, most probable first; absent when the model has no tags. */
  readonly tags?: readonly Tag[];
  /** One for each image, in order. */
  readonly results: readonly CaptionResult[];
}

/** Said to a request without an image: clients send "Hi" to see whether a model answers. */
export const imageNeeded = 'This model describes images: send an image with the request.';

/**
 * Captions the images of a request, side by side.
 *
 * @throws ServiceError missing_image | too_many_images | queue_full; what `Captioner.caption` throws
 */
export async function describe(
  images: readonly ImageSource[],
  { captioner, maxImages, minConfidence }: ProtocolOptions,
  context: AdmittedRequest,
  asked: Partial<CaptionOptions> = {},
): Promise<Description> {
  if (images.length === 0) throw new ServiceError('missing_image', 'The request has no image.');
  if (images.length > maxImages) {
    throw new ServiceError('too_many_images', `A request may have at most ${maxImages} images.`);
  }
  const contexts = images.length === 1 ? [context] : context.splitForImages(images.length);
  const members = { minConfidence, ...asked };
  const options = parseCaptionOptions({ texts: [], members }, context.permit.model.bundle.decoding.maxLength);
  const results = await Promise.all(
    images.map((image, index) => captioner.caption(image, options, contexts[index] ?? context)),
  );
  const captions = results.flatMap(({ caption }) => caption ?? []);
  const tags = mergeTags(results);
  return {
    caption: captions.length === 0 ? null : captions.join('. '),
    confidence: Math.min(...results.map(({ confidence }) => confidence)),
    ...(tags !== undefined && { tags }),
    results,
  };
}

/** Each word once, with its largest probability. */
function mergeTags(results: readonly CaptionResult[]): Tag[] | undefined {
  if (results.some(({ tags }) => tags === undefined)) return undefined;
  const merged = new Map<string, number>();
  for (const { word, probability } of results.flatMap(({ tags }) => tags ?? [])) {
    merged.set(word, Math.max(probability, merged.get(word) ?? 0));
  }
  return [...merged]
    .map(([word, probability]) => ({ word, probability }))
    .sort((a, b) => b.probability - a.probability);
}
