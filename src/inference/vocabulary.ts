import pluralize from 'pluralize';
import { genderedWords, neutralWords } from './gendered-words.js';
import type { ModelOptions } from './messages.js';

/** Added to a word's logit, it makes the word impossible. It is finite because -Infinity would turn sums into NaN. */
export const MASK_LOGIT = -1e4;

/** The decoder's vocabulary. */
export interface Vocabulary {
  /**
   * Gives the words of a beam, up to the end of sentence.
   * @param ids token ids; 0 ends the sentence
   */
  detokenize(ids: readonly number[]): string[];
  /**
   * Gives the values that are added to the decoder's logits for these options: [V].
   * @param groundedConcepts concepts that the client named and that the image seems to show; the last word of each
   *   becomes more likely, and so does its plural
   */
  logitBias(
    options: Pick<ModelOptions, 'avoidWords' | 'genderNeutral'>,
    groundedConcepts?: readonly string[],
  ): Float32Array;
}

/**
 * @param words words by id; id 0, the end of a sentence, is the empty string
 * @param blockedWords words of the vocabulary that no caption may contain
 * @param groundedBias added to the logit of a grounded concept's word
 */
export function createVocabulary(
  words: readonly string[],
  blockedWords: readonly string[],
  groundedBias = 0,
): Vocabulary {
  const idsByForm = indexForms(words);
  const idByWord = new Map(words.map((word, id) => [word, id] as const));
  const defaultBias = new Float32Array(words.length);
  for (const word of blockedWords) defaultBias[words.indexOf(word)] = MASK_LOGIT;

  /** Finds the ids of a word, of its plural, and of compounds of them: "dog" finds "dogs", "dog's" and "dog-sled". */
  function findIds(word: string): number[] {
    const form = word.trim().toLowerCase();
    return [form, pluralize.plural(form)].flatMap((each) => idsByForm.get(each) ?? []);
  }
  const genderedIds = genderedWords.flatMap(findIds);
  const neutralBoosts = Object.entries(neutralWords).flatMap(([word, factor]) => {
    const id = words.indexOf(word);
    return id > 0 ? [[id, Math.log(factor)] as const] : [];
  });

  return {
    detokenize(ids) {
      const end = ids.indexOf(0);
      return (end === -1 ? ids : ids.slice(0, end)).map((id) => words[id] ?? '');
    },
    logitBias({ avoidWords, genderNeutral }, groundedConcepts = []) {
      const bias = defaultBias.slice();
      for (const concept of groundedConcepts) {
        const noun = concept.toLowerCase().split(/\s+/).at(-1) ?? '';
        for (const form of [noun, pluralize.plural(noun)]) {
          const id = idByWord.get(form);
          // A blocked word keeps its mask.
          if (id !== undefined && id > 0 && bias[id] === 0) bias[id] = groundedBias;
        }
      }
      // Masks are written last, so that they win over every boost.
      if (genderNeutral) {
        for (const [id, boost] of neutralBoosts) bias[id] = boost;
        for (const id of genderedIds) bias[id] = MASK_LOGIT;
      }
      for (const word of avoidWords) for (const id of findIds(word)) bias[id] = MASK_LOGIT;
      return bias;
    },
  };
}

/** Lists ids by every form under which a word can be avoided: itself, its singular, and its parts around - and '. */
function indexForms(words: readonly string[]): Map<string, number[]> {
  const index = new Map<string, number[]>();
  for (const [id, word] of words.entries()) {
    if (id === 0) continue;
    const parts = [word, ...word.split(/['-]/)];
    for (const form of new Set([...parts, ...parts.map((part) => pluralize.singular(part))])) {
      const ids = index.get(form);
      if (ids === undefined) index.set(form, [id]);
      else ids.push(id);
    }
  }
  return index;
}

/** Writes words as a sentence, with a capital letter and no full stop. */
export function formatSentence(words: readonly string[]): string {
  const text = words.join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
