import { ServiceError } from '../../problem.js';
import type { RawOptions } from './read-options.js';

/** What a client sent, whichever way it sent it. */
export interface Submission extends RawOptions {
  /** Encoded images, in the order sent. */
  readonly images: readonly Buffer[];
}

export interface SubmissionLimits {
  /** Bytes of all images together. */
  readonly maxBytes: number;
  readonly maxImages: number;
}

/** For calls that take one image. Throws ServiceError too_many_images. */
export function onlyImage({ images }: Submission): Buffer {
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
