import { ServiceError } from '../../problem.js';
import type { RawOptions } from './read-options.js';

/** An image as it was sent. Nothing of it has been looked at, so that in a batch a bad one fails alone. */
export type ImageSource =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  /** A JSON member that should be text in base64. */
  | { readonly kind: 'base64'; readonly text: unknown }
  /** A JSON member or a field that should be a URL. */
  | { readonly kind: 'url'; readonly url: unknown };

/** What a client sent, whichever way it sent it. */
export interface Submission extends RawOptions {
  /** In the order sent. */
  readonly images: readonly ImageSource[];
}

export interface SubmissionLimits {
  /** Bytes of all images together. */
  readonly maxBytes: number;
  readonly maxImages: number;
}

/** For calls that take one image. Throws ServiceError too_many_images. */
export function onlyImage({ images }: Submission): ImageSource {
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
