import { genderedWords } from './gendered-words.js';
import type { ModelOptions, Tag } from './messages.js';
import { dot, getRow, type Rows } from './tensors.js';

/** The features that a word's function may name. A bundle that names another one is refused. */
export const tagFeatureNames = [
  /** Cosine of the image's and the word's embedding. */
  'cosine',
  /** 1 if the best candidate has the word, else 0. */
  'inCaption',
  /** Share of the candidates that have the word. */
  'inCandidates',
] as const;

export type TagFeatureName = (typeof tagFeatureNames)[number];

/** A word, and the logistic function of its probability: sigmoid(intercept + Σ coefficient · feature). */
export interface TagWord {
  readonly word: string;
  /** Words of the decoder that name it: its singular and plural. */
  readonly forms: readonly string[];
  readonly intercept: number;
  /** One for each feature. */
  readonly coefficients: readonly number[];
}

export interface TagModel {
  readonly features: readonly TagFeatureName[];
  readonly words: readonly TagWord[];
  /** [W, E], rows of unit length. */
  readonly embeddings: Rows;
}

export type TagOptions = Pick<ModelOptions, 'minTagProbability' | 'maxTags' | 'avoidWords' | 'genderNeutral'>;

/**
 * The tags of an image, most probable first. Words that the client avoids are none, nor with `genderNeutral` those that
 * name a gender.
 *
 * @param embedding of the image: [E], unit length
 * @param candidates the words of each candidate, best first
 */
export function findTags(
  { features, words, embeddings }: TagModel,
  embedding: Float32Array,
  candidates: readonly (readonly string[])[],
  { minTagProbability, maxTags, avoidWords, genderNeutral }: TagOptions,
): Tag[] {
  const avoided = new Set([
    ...avoidWords.map((word) => word.trim().toLowerCase()),
    ...(genderNeutral ? genderedWords : []),
  ]);
  const said = candidates.map((candidate) => new Set(candidate));
  const tags: Tag[] = [];
  for (const [row, { word, forms, intercept, coefficients }] of words.entries()) {
    if ([word, ...forms].some((form) => avoided.has(form))) continue;
    const has = said.map((each) => forms.some((form) => each.has(form)));
    const values: Readonly<Record<TagFeatureName, number>> = {
      cosine: dot(embedding, getRow(embeddings, row)),
      inCaption: has[0] === true ? 1 : 0,
      inCandidates: has.filter(Boolean).length / Math.max(1, has.length),
    };
    let logit = intercept;
    for (const [index, name] of features.entries()) logit += (coefficients[index] ?? 0) * values[name];
    const probability = 1 / (1 + Math.exp(-logit));
    if (probability >= minTagProbability) tags.push({ word, probability });
  }
  return tags.sort((a, b) => b.probability - a.probability).slice(0, maxTags);
}
