import { setTimeout as sleep } from 'node:timers/promises';
import type { Captioner } from '../../src/captioner/captioner.js';
import { ServiceError } from '../../src/errors.js';
import { captionExamples } from '../../src/http/schemas/caption-request.js';

/** Stands for decoding and the model: a file that holds the word "poison" cannot be read, any other one is its own caption. */
export function stubCaptioner(
  delayMs: number,
  onCaption: () => void = () => undefined,
): Pick<Captioner, 'caption'> {
  return {
    async caption(source, _options, { signal }) {
      const text = source.kind === 'bytes' ? source.bytes.toString('utf8') : source.kind;
      await sleep(delayMs, undefined, { signal });
      onCaption();
      if (text.includes('poison')) throw new ServiceError('image_unreadable', 'The image is cut short.');
      const { photo } = captionExamples;
      const value = structuredClone(photo.value);
      return { ...value, caption: text, image: { ...value.image, format: 'jpeg' } };
    },
  };
}
