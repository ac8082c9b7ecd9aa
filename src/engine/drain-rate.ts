/** Weight of the newest batch in the running mean: about the last ten batches count. */
const newestWeight = 0.2;
const leastSeconds = 1;
/** Nobody should wait longer before trying again than a queue can be deep. */
const mostSeconds = 60;

/** How fast one worker empties the queue, measured on the batches it ran. */
export class DrainRate {
  #perSecond: number;

  /**
   * @param images of a first measured run, the warm-up
   * @param elapsedMs that it took
   */
  constructor(images: number, elapsedMs: number) {
    this.#perSecond = rate(images, elapsedMs);
  }

  /** @param cost of a batch, in images */
  record(cost: number, elapsedMs: number): void {
    this.#perSecond += newestWeight * (rate(cost, elapsedMs) - this.#perSecond);
  }

  /** Whole seconds until so many places are worked off by so many workers: the value of `Retry-After`. */
  retryAfterSeconds(places: number, workers: number): number {
    const seconds = Math.ceil(places / (this.#perSecond * Math.max(1, workers)));
    return Math.min(Math.max(seconds, leastSeconds), mostSeconds);
  }
}

function rate(images: number, elapsedMs: number): number {
  return (images / Math.max(elapsedMs, 0.001)) * 1000;
}
