import type { CaptionOptions } from '../../runtime/messages.js';
import { CaptionOptionsSchema } from '../schemas/caption-options.js';
import { createOptionReader, invalidOption, type RawOptions } from '../submission/read-options.js';

export interface AskedCaption {
  /** What the model is asked. */
  readonly options: CaptionOptions;
  /** What is done with its answer. */
  readonly minConfidence: number;
}

const readValues = createOptionReader(CaptionOptionsSchema);

/**
 * @param longest the bundle's longest caption in words
 * @throws ServiceError invalid_option
 */
export function readCaptionOptions(raw: RawOptions, longest: number): AskedCaption {
  const { minConfidence = 0, ...values } = readValues(raw);
  const { candidates = 3, maxLength = longest } = values;
  const { beamSize = Math.max(3, candidates) } = values;
  if (beamSize < candidates) {
    throw invalidOption(`beamSize must be at least candidates, which is ${candidates}.`);
  }
  if (maxLength > longest) {
    throw invalidOption(
      `maxLength must be a whole number from 4 to ${longest}, the longest that this model writes.`,
    );
  }
  return {
    options: {
      candidates,
      beamSize,
      maxLength,
      concepts: values.concepts ?? [],
      conceptsMode: values.conceptsMode ?? 'replace',
      avoidWords: values.avoidWords ?? [],
      genderNeutral: values.genderNeutral ?? false,
      explain: values.explain ?? false,
    },
    minConfidence,
  };
}
