import { element } from './elements.js';
import { requestEmbedding } from './service.js';

/** A photo that is searched, with its vector once that is known. */
export interface Searched {
  readonly file: File;
  embedding: readonly number[] | undefined;
}

export interface SearchDeps<Photo extends Searched> {
  readonly photos: () => readonly Photo[];
  readonly apiKey: () => string;
  /** Runs as many requests at a time as the service is given. */
  readonly inTurn: <T>(task: () => Promise<T>) => Promise<T>;
  /** Is given the photos most alike first, or undefined when the text is empty. */
  readonly onOrder: (ordered: readonly Photo[] | undefined) => void;
  readonly announce: (text: string) => void;
}

/** Puts the photos that fit a text first, by the vectors that text and photos share. Each photo is embedded once. */
export function createSearch<Photo extends Searched>(deps: SearchDeps<Photo>): void {
  const form = element(document, '#search', HTMLFormElement);
  const text = element(form, '#search-text', HTMLInputElement);
  const status = element(form, '#search-status', HTMLElement);
  /** A later search makes the answers of an earlier one worthless. */
  let latest = 0;

  async function search(): Promise<void> {
    const turn = ++latest;
    const query = text.value.trim();
    status.textContent = '';
    if (query === '') {
      deps.onOrder(undefined);
      return;
    }
    status.textContent = 'Searching…';
    const wanted = await deps.inTurn(() => requestEmbedding(query, deps.apiKey()));
    if (turn !== latest) return;
    if ('problem' in wanted) {
      status.textContent = `${wanted.problem.title}. ${wanted.problem.detail}`;
      return;
    }
    const photos = deps.photos();
    await Promise.all(photos.map((photo) => deps.inTurn(() => embed(photo))));
    if (turn !== latest) return;
    const similarity = ({ embedding = [] }: Photo): number =>
      embedding.reduce((sum, value, index) => sum + value * (wanted.result[index] ?? 0), 0);
    const found = photos.filter(({ embedding }) => embedding !== undefined);
    deps.onOrder(found.sort((a, b) => similarity(b) - similarity(a)));
    status.textContent = 'Best first';
    deps.announce(`${found.length} photos, those that fit “${query}” best first`);
  }

  /** A photo that cannot be embedded cannot be captioned either, and its card says why. */
  async function embed(photo: Photo): Promise<void> {
    if (photo.embedding !== undefined) return;
    const answer = await requestEmbedding(photo.file, deps.apiKey());
    if ('result' in answer) photo.embedding = answer.result;
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void search();
  });
  // The cross of a search field empties it.
  text.addEventListener('search', () => void search());
}
