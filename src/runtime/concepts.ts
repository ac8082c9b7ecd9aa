import { LRUCache } from 'lru-cache';
import type { CaptionOptions } from './messages.js';
import type { EmbedTexts } from './text-embedding.js';
import { meanDirection, rowOf, type Rows } from './vectors.js';

/** The words an image is compared with. */
export interface ConceptVocabulary {
  readonly words: readonly string[];
  /** [C, E] with C ≥ k: rows beyond the words are zero, and a detected id beyond them is no concept. */
  readonly embeddings: Rows;
}

export interface ConceptSource {
  /** Equal for options that mean the same vocabulary: images of one key share a run of the mixup graph. */
  keyOf(options: ConceptOptions): string;
  /** The vocabulary; embeds the words that are not in the cache. */
  vocabularyOf(options: ConceptOptions): Promise<ConceptVocabulary>;
  /** Rows of that vocabulary that the client named, whether the bundle has them too or not. */
  clientRows(options: ConceptOptions): number[];
}

type ConceptOptions = Pick<CaptionOptions, 'concepts' | 'conceptsMode'>;

export interface ConceptSourceParts {
  /** The bundle's vocabulary. */
  readonly words: readonly string[];
  /** [C, E], unit rows */
  readonly embeddings: Rows;
  /** Templates around `{}`. */
  readonly prompts: readonly string[];
  /** Concepts detected in each image. */
  readonly k: number;
  /** Words of clients whose embeddings are kept. */
  readonly cacheSize: number;
  readonly embedTexts: EmbedTexts;
}

export function createConceptSource(parts: ConceptSourceParts): ConceptSource {
  const { words: defaultWords, prompts, k, embedTexts } = parts;
  const { width } = parts.embeddings;
  const own = atLeast(k, { words: defaultWords, embeddings: parts.embeddings });
  const known = new Map(defaultWords.map((word, row) => [normalise(word), row]));
  const cache = new LRUCache<string, Float32Array>({ max: parts.cacheSize });

  /** The client's words without repetitions, and in `extend` without those the bundle has. */
  function addedWords({ concepts, conceptsMode }: ConceptOptions): Map<string, string> {
    const added = new Map<string, string>();
    for (const word of concepts) {
      const form = normalise(word);
      if (form === '' || added.has(form)) continue;
      if (conceptsMode === 'extend' && known.has(form)) continue;
      added.set(form, word.trim());
    }
    return added;
  }

  /** The mean of the embedded prompts of each word. */
  async function embed(forms: readonly string[]): Promise<Map<string, Float32Array>> {
    const found = new Map<string, Float32Array>();
    const missing: string[] = [];
    for (const form of forms) {
      const embedding = cache.get(form);
      if (embedding === undefined) missing.push(form);
      else found.set(form, embedding);
    }
    const texts = missing.flatMap((form) => prompts.map((prompt) => prompt.replace('{}', () => form)));
    const rows = await embedTexts(texts);
    for (const [index, form] of missing.entries()) {
      const promptRows = prompts.map((_, prompt) => rowOf(rows, index * prompts.length + prompt));
      const embedding = meanDirection(promptRows, width);
      cache.set(form, embedding);
      found.set(form, embedding);
    }
    return found;
  }

  return {
    keyOf(options) {
      const forms = [...addedWords(options).keys()];
      return forms.length === 0 ? '' : JSON.stringify([options.conceptsMode, forms]);
    },
    async vocabularyOf(options) {
      const added = addedWords(options);
      if (added.size === 0) return own;
      const embedded = await embed([...added.keys()]);
      const base = options.conceptsMode === 'extend' ? parts.embeddings.data : new Float32Array();
      const data = new Float32Array(base.length + added.size * width);
      data.set(base);
      let offset = base.length;
      for (const form of added.keys()) {
        data.set(embedded.get(form) ?? [], offset);
        offset += width;
      }
      const words = [...(options.conceptsMode === 'extend' ? defaultWords : []), ...added.values()];
      return atLeast(k, { words, embeddings: { data, count: words.length, width } });
    },
    clientRows(options) {
      const base = options.conceptsMode === 'extend' ? defaultWords.length : 0;
      const added = Array.from(addedWords(options).keys(), (_, index) => base + index);
      if (options.conceptsMode === 'replace') return added;
      const shared = new Set(options.concepts.flatMap((word) => known.get(normalise(word)) ?? []));
      return [...shared, ...added];
    },
  };
}

function normalise(word: string): string {
  return word.trim().toLowerCase().replace(/\s+/g, ' ');
}

/** Fills up with zero rows to the k concepts that the mixup graph takes at least. */
function atLeast(k: number, { words, embeddings }: ConceptVocabulary): ConceptVocabulary {
  if (embeddings.count >= k) return { words, embeddings };
  const data = new Float32Array(k * embeddings.width);
  data.set(embeddings.data);
  return { words, embeddings: { data, count: k, width: embeddings.width } };
}
