import type { ImageSource } from '../../captioner/image-source.js';
import type { RawOptions } from '../../captioner/options.js';
import { ServiceError } from '../../errors.js';

/** What a client sent, in whichever way it sent it. */
export interface ParsedRequest extends RawOptions {
  /** In the order sent. */
  readonly images: readonly ImageSource[];
}

export interface RequestLimits {
  /** Bytes of all images together. */
  readonly maxBytes: number;
  readonly maxImages: number;
  /** Told the number of images so far as each begins to arrive; what it throws refuses the request at once. */
  readonly onImage?: (images: number) => void;
}

/** The image of a call that takes one. Throws ServiceError too_many_images. */
export function onlyImage({ images }: ParsedRequest): ImageSource {
  const [image, ...others] = images;
  if (image === undefined || others.length > 0) throw tooManyImages(1);
  return image;
}

export function tooManyImages(maxImages: number): ServiceError {
  return new ServiceError(
    'too_many_images',
    `This call takes ${maxImages === 1 ? 'one image' : `at most ${maxImages} images`}.`,
  );
}
