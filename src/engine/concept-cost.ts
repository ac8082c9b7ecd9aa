import { LRUCache } from 'lru-cache';

/** Texts the text encoder embeds in about the time one image takes. */
const textsPerImage = 32;

/**
 * What a client's own concepts cost, in images: each new word is embedded with each of the bundle's prompts. Words
 * seen before are free, as the inference process has them in a cache of the same size. It is an estimate: a process
 * that was replaced has an empty cache.
 */
export class ConceptCost {
  readonly #seen: LRUCache<string, true>;
  readonly #prompts: number;

  constructor(options: { prompts: number; cacheSize: number }) {
    this.#prompts = options.prompts;
    this.#seen = new LRUCache({ max: options.cacheSize });
  }

  /** Places these words take besides the image's own. */
  of(concepts: readonly string[]): number {
    const unseen = concepts.filter((word) => !this.#seen.has(word));
    for (const word of concepts) this.#seen.set(word, true);
    return textCost(unseen.length * this.#prompts);
  }
}

/** What embedding so many texts costs, in images. */
export function textCost(texts: number): number {
  return Math.ceil(texts / textsPerImage);
}
