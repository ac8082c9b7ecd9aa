/**
 * Counts beats without a sign of life. Beats, not time: when this very process was suspended or blocked, the worker's
 * signs are still unread, and it must not die for that.
 */
export class Watchdog {
  #silentBeats = 0;
  #limitMs = Infinity;
  readonly #timer: NodeJS.Timeout;

  /**
   * @param beatMs milliseconds between two beats, as long as between two heartbeats
   * @param onSilence called at every beat once the limit is passed
   */
  constructor(beatMs: number, onSilence: (silentMs: number) => void) {
    this.#timer = setInterval(() => {
      this.#silentBeats += 1;
      const silentMs = this.#silentBeats * beatMs;
      if (silentMs > this.#limitMs) onSilence(silentMs);
    }, beatMs);
    this.#timer.unref();
  }

  /** A sign of life came. */
  feed(): void {
    this.#silentBeats = 0;
  }

  /** Starts to mind silence; before, loading may be silent for long. */
  watch(limitMs: number): void {
    this.#limitMs = limitMs;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
