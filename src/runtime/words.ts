import pluralize from 'pluralize';
import { genderedWords, neutralWords } from './gendered-words.js';
import type { CaptionOptions } from './messages.js';

/** Added to a logit, it makes a word impossible; finite, as the graph's sums must stay finite. */
export const forbidden = -1e4;

/** The decoder's words. */
export interface Words {
  /**
   * The words of a beam, up to the end of sentence.
   * @param ids token ids; 0 ends the sentence
   */
  spell(ids: readonly number[]): string[];
  /**
   * What is added to the logits for these options: [V].
   * @param fitting concepts of the client that the image seems to show: the last word of each becomes more likely, and its plural
   */
  bias(
    options: Pick<CaptionOptions, 'avoidWords' | 'genderNeutral'>,
    fitting?: readonly string[],
  ): Float32Array;
}

/**
 * @param vocabulary words by id; id 0, the end of a sentence, is the empty string
 * @param blockedWords lines of the vocabulary that are never written
 * @param fittingBias added to the logit of a word that the client looks for, where the image seems to show it
 */
export function createWords(
  vocabulary: readonly string[],
  blockedWords: readonly string[],
  fittingBias = 0,
): Words {
  const idsByForm = indexForms(vocabulary);
  const idByWord = new Map(vocabulary.map((word, id) => [word, id] as const));
  const blocked = new Float32Array(vocabulary.length);
  for (const word of blockedWords) blocked[vocabulary.indexOf(word)] = forbidden;

  /** Ids of a word, of its plural, and of words made of them: "dog" finds "dogs", "dog's" and "dog-sled". */
  function idsOf(word: string): number[] {
    const form = word.trim().toLowerCase();
    return [form, pluralize.plural(form)].flatMap((each) => idsByForm.get(each) ?? []);
  }
  const gendered = genderedWords.flatMap(idsOf);
  const neutral = Object.entries(neutralWords).flatMap(([word, factor]) => {
    const id = vocabulary.indexOf(word);
    return id > 0 ? [[id, Math.log(factor)] as const] : [];
  });

  return {
    spell(ids) {
      const end = ids.indexOf(0);
      return (end === -1 ? ids : ids.slice(0, end)).map((id) => vocabulary[id] ?? '');
    },
    bias({ avoidWords, genderNeutral }, fitting = []) {
      const bias = blocked.slice();
      for (const concept of fitting) {
        const noun = concept.toLowerCase().split(/\s+/).at(-1) ?? '';
        for (const form of [noun, pluralize.plural(noun)]) {
          const id = idByWord.get(form);
          if (id !== undefined && id > 0 && bias[id] === 0) bias[id] = fittingBias;
        }
      }
      if (genderNeutral) {
        for (const [id, boost] of neutral) bias[id] = boost;
        for (const id of gendered) bias[id] = forbidden;
      }
      for (const word of avoidWords) for (const id of idsOf(word)) bias[id] = forbidden;
      return bias;
    },
  };
}

/** Ids by every form under which a word may be avoided: itself, its singular, and its parts around - and '. */
function indexForms(vocabulary: readonly string[]): Map<string, number[]> {
  const index = new Map<string, number[]>();
  for (const [id, word] of vocabulary.entries()) {
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

/** Words as a sentence: a capital letter, no full stop. */
export function sentence(words: readonly string[]): string {
  const text = words.join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
