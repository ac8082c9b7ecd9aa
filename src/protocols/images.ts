import type { ImageSource } from '../captioner/image-source.js';

/** An image that is written as a text: an http(s) link, a data URL, or base64 alone. */
export function imageOfText(text: unknown): ImageSource {
  return typeof text === 'string' && /^https?:\/\//i.test(text)
    ? { kind: 'url', url: text }
    : { kind: 'base64', text };
}

/** Images that are written as texts, each once: some clients send the same one in two places. */
export function imagesOfTexts(texts: readonly unknown[]): ImageSource[] {
  return [...new Set(texts)].map(imageOfText);
}
