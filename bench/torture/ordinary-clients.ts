import { outcomesOfCorrupted } from './corruptions.js';
import type { Random } from './random.js';
import { type Kind, RequestFates } from './request-fates.js';
import { isOwn, type OwnCaption, postBatch, postImage, type Reply } from './requests.js';
import { Tally } from './tally.js';

const itsOwn = 'its own caption';

export interface OrdinaryOptions {
  readonly url: string;
  readonly photos: readonly Buffer[];
  /** What each photo is answered when nothing is wrong. */
  readonly own: readonly OwnCaption[];
  readonly random: Random;
}

/** Clients that send photos, one by one and in batches, and what becomes of their requests. */
export class OrdinaryClients {
  readonly fates = new RequestFates();
  /** Of each image. */
  readonly outcomes = new Tally();
  readonly #options: OrdinaryOptions;
  #sent = 0;

  constructor(options: OrdinaryOptions) {
    this.#options = options;
  }

  /** Requests with a number. */
  get sent(): number {
    return this.#sent;
  }

  /** @returns milliseconds to a caption; undefined when it was turned away or wrong */
  async single(): Promise<number | undefined> {
    const { url, photos, random } = this.#options;
    const [which, id] = [this.#somePhoto(), this.#newId()];
    const since = performance.now();
    const image = photos[which] ?? Buffer.alloc(0);
    const reply = await postImage(url, image, random.oneOf(['body', 'form'] as const), { id });
    const elapsedMs = performance.now() - since;
    this.#judge('single', id, [reply], [which]);
    return reply.outcome === '200' ? elapsedMs : undefined;
  }

  async batch(): Promise<void> {
    const { url, photos, random } = this.#options;
    const id = this.#newId();
    const which = Array.from({ length: 1 + random.below(8) }, () => this.#somePhoto());
    const accept = random.oneOf(['application/json', 'application/x-ndjson'] as const);
    const images = which.map((each) => photos[each] ?? Buffer.alloc(0));
    this.#judge('batch', id, await postBatch(url, images, accept, id), which);
  }

  /** An image for which any proper answer is right. */
  async corrupted(image: Buffer): Promise<void> {
    const id = this.#newId();
    this.#judge('corrupted', id, [await postImage(this.#options.url, image, 'body', { id })]);
  }

  /** Sends a photo and leaves before its answer, mostly; whether it did. */
  async leaving(): Promise<boolean> {
    const { url, photos, random } = this.#options;
    const client = new AbortController();
    const timer = setTimeout(() => {
      client.abort();
    }, random.below(1000));
    try {
      await postImage(url, photos[this.#somePhoto()] ?? Buffer.alloc(0), 'form', { signal: client.signal });
      return false;
    } catch (error) {
      if (!client.signal.aborted) throw error;
      return true;
    } finally {
      clearTimeout(timer);
    }
  }

  #somePhoto(): number {
    return this.#options.random.below(this.#options.photos.length);
  }

  #newId(): string {
    return `torture-${this.#sent++}`;
  }

  /** @param which the photos that the replies are to, or undefined where any proper answer is right */
  #judge(kind: Kind, id: string, replies: readonly Reply[], which?: readonly number[]): void {
    const ends = replies.map((reply, place) => {
      if (which === undefined) return reply.outcome;
      if (isOwn(reply, this.#options.own[which[place] ?? NaN])) return itsOwn;
      return reply.outcome === '200' ? 'ANOTHER caption' : reply.outcome;
    });
    for (const end of ends) this.outcomes.add(`${kind}: ${end}`);
    this.fates.add(kind, id, ends, which === undefined ? outcomesOfCorrupted : [itsOwn]);
  }
}

/** Counts, for each request with a number, how often the service's log says that it was answered. */
export function countAnswered(answered: Tally): (logLine: string) => void {
  return (line) => {
    if (/"index":\d/.test(line)) return; // of one image of a batch
    const id = /"reqId":"(torture-\d+)".*"msg":"(?:answered|refused)"/.exec(line)?.[1];
    if (id !== undefined) answered.add(id);
  };
}
