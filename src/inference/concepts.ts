import { LRUCache } from 'lru-cache';
import type { ModelOptions } from './messages.js';
import type { EmbedTexts } from './stages/embed-text.js';
import { averageDirection, getRow, type Rows } from './tensors.js';

/** The concept words that an image is compared with. */
export interface ConceptVocabulary {
  readonly words: readonly string[];
  /** [C, E] with C ≥ k. Rows beyond the words are zero, and a detected id beyond them is no concept. */
  readonly embeddings: Rows;
}

/** Gives each request the concept vocabulary that it asks for. */
export interface ConceptSource {
  /** The vocabulary of images whose client brings no concepts. */
  readonly bundleVocabulary: ConceptVocabulary;
  /** Gives the same key for options that mean the same vocabulary; the bundle's own has the empty key. */
  keyOf(options: ConceptOptions): string;
  /** Gives the vocabulary, after embedding the words that are not in the cache. */
  vocabularyOf(options: ConceptOptions): Promise<ConceptVocabulary>;
  /** Lists the rows of that vocabulary which the client named, also those that the bundle has too. */
  clientRows(options: ConceptOptions): number[];
}

type ConceptOptions = Pick<ModelOptions, 'concepts' | 'conceptsMode'>;

export interface ConceptSourceParts {
  /** The bundle's concept words. */
  readonly words: readonly string[];
  /** Their embeddings: [C, E], rows of unit length. */
  readonly embeddings: Rows;
  /** Templates with `{}` in the place of the concept. */
  readonly prompts: readonly string[];
  /** The number of concepts detected in each image. */
  readonly k: number;
  /** The number of clients' words whose embeddings are cached. */
  readonly cacheSize: number;
  readonly embedTexts: EmbedTexts;
}

export function createConceptSource(parts: ConceptSourceParts): ConceptSource {
  const { words: bundleWords, prompts, k, embedTexts } = parts;
  const { width } = parts.embeddings;
  const bundleVocabulary = padToMinimum(k, { words: bundleWords, embeddings: parts.embeddings });
  const bundleRows = new Map(bundleWords.map((word, row) => [normalize(word), row]));
  const cache = new LRUCache<string, Float32Array>({ max: parts.cacheSize });

  /** Lists the client's words by normal form, without repetitions, and in `extend` without those the bundle has. */
  function collectAdded({ concepts, conceptsMode }: ConceptOptions): Map<string, string> {
    const added = new Map<string, string>();
    for (const word of concepts) {
      const form = normalize(word);
      if (form === '' || added.has(form)) continue;
      if (conceptsMode === 'extend' && bundleRows.has(form)) continue;
      added.set(form, word.trim());
    }
    return added;
  }

  /** Embeds each word as the mean of its prompts, as the bundle's own concepts were embedded. */
  async function embed(forms: readonly string[]): Promise<Map<string, Float32Array>> {
    // The result does not come from the cache alone, which may be smaller than one request's words.
    const embedded = new Map<string, Float32Array>();
    const missing: string[] = [];
    for (const form of forms) {
      const embedding = cache.get(form);
      if (embedding === undefined) missing.push(form);
      else embedded.set(form, embedding);
    }
    const texts = missing.flatMap((form) => prompts.map((prompt) => prompt.replace('{}', () => form)));
    const rows = await embedTexts(texts);
    for (const [index, form] of missing.entries()) {
      const promptRows = prompts.map((_, prompt) => getRow(rows, index * prompts.length + prompt));
      const embedding = averageDirection(promptRows, width);
      cache.set(form, embedding);
      embedded.set(form, embedding);
    }
    return embedded;
  }

  return {
    bundleVocabulary,
    keyOf(options) {
      const forms = [...collectAdded(options).keys()];
      return forms.length === 0 ? '' : JSON.stringify([options.conceptsMode, forms]);
    },
    async vocabularyOf(options) {
      const added = collectAdded(options);
      if (added.size === 0) return bundleVocabulary;
      const embedded = await embed([...added.keys()]);
      const base = options.conceptsMode === 'extend' ? parts.embeddings.data : new Float32Array();
      const data = new Float32Array(base.length + added.size * width);
      data.set(base);
      let offset = base.length;
      for (const form of added.keys()) {
        data.set(embedded.get(form) ?? [], offset);
        offset += width;
      }
      const words = [...(options.conceptsMode === 'extend' ? bundleWords : []), ...added.values()];
      return padToMinimum(k, { words, embeddings: { data, count: words.length, width } });
    },
    clientRows(options) {
      const base = options.conceptsMode === 'extend' ? bundleWords.length : 0;
      const added = Array.from(collectAdded(options).keys(), (_, index) => base + index);
      if (options.conceptsMode === 'replace') return added;
      const shared = new Set(options.concepts.flatMap((word) => bundleRows.get(normalize(word)) ?? []));
      return [...shared, ...added];
    },
  };
}

function normalize(word: string): string {
  return word.trim().toLowerCase().replace(/\s+/g, ' ');
}

/** Appends zero rows to a vocabulary of fewer than k words, because the mixup graph takes the k best of its input. */
function padToMinimum(k: number, { words, embeddings }: ConceptVocabulary): ConceptVocabulary {
  if (embeddings.count >= k) return { words, embeddings };
  const data = new Float32Array(k * embeddings.width);
  data.set(embeddings.data);
  return { words, embeddings: { data, count: k, width: embeddings.width } };
}
