import type { ItemAnswer, ItemErrorCode } from './messages.js';

export function failure(
  code: ItemErrorCode,
  message: string,
): { ok: false; code: ItemErrorCode; message: string } {
  return { ok: false, code, message };
}

/**
 * Answers each item, in order, whatever happens: an item that `refuse` says no to does not run, and when a run throws,
 * each of its items runs alone, so that only the culprit fails.
 */
export function failingAlone<Item, Outcome>(
  refuse: (item: Item) => ItemAnswer<Outcome> | undefined,
  run: (items: readonly Item[]) => Promise<ItemAnswer<Outcome>[]>,
): (items: readonly Item[]) => Promise<ItemAnswer<Outcome>[]> {
  async function runSafely(items: readonly Item[]): Promise<ItemAnswer<Outcome>[]> {
    if (items.length === 0) return [];
    try {
      return await run(items);
    } catch (error) {
      if (items.length === 1)
        return [failure('internal', error instanceof Error ? error.message : String(error))];
      const answers: ItemAnswer<Outcome>[] = [];
      for (const item of items) answers.push(...(await runSafely([item])));
      return answers;
    }
  }

  return async (items) => {
    const refusals = items.map(refuse);
    const answers = (await runSafely(items.filter((_, index) => refusals[index] === undefined))).values();
    return refusals.map((refusal) => refusal ?? answers.next().value ?? failure('internal', 'no answer'));
  };
}

/** Says no to pixels that are not of the bundle's image size. */
export function refuseOtherSizes(pixels: Uint8Array, imageBytes: number): ItemAnswer<never> | undefined {
  if (pixels.length === imageBytes) return undefined;
  return failure('internal', `an image has ${pixels.length} bytes where ${imageBytes} are expected`);
}
