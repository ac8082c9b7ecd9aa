/** Room for pixels of pictures that are decoded side by side. */
export interface PixelBudget {
  /** Resolves when there is room for so many pixels, in the order asked; what it resolves with gives them back. */
  take(pixels: number): Promise<() => void>;
}

/**
 * A decode may take 20 bytes of memory a pixel. With a budget of the pixels of the largest picture, as many decoders as there
 * are take together what one of them may take alone.
 * @param most pixels; what has more takes all of them
 */
export function createPixelBudget(most: number): PixelBudget {
  const waiting: { readonly pixels: number; readonly enter: () => void }[] = [];
  let free = most;

  /** Nobody is overtaken: a large picture would wait for ever among small ones. */
  function admit(): void {
    for (let [first] = waiting; first !== undefined && first.pixels <= free; [first] = waiting) {
      waiting.shift();
      free -= first.pixels;
      first.enter();
    }
  }

  return {
    async take(wanted) {
      const pixels = Math.min(wanted, most);
      await new Promise<void>((enter) => {
        waiting.push({ pixels, enter });
        admit();
      });
      return () => {
        free += pixels;
        admit();
      };
    },
  };
}
