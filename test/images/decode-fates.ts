/** What the fake decode process does with an image, by the width of the target. */
export const fates = { decode: 1, hang: 2, crash: 3, grow: 4, hold: 5, abort: 6 } as const;
