/** What the fake worker does with an image, by its first byte. */
export const fates = { caption: 0, crash: 1, hang: 2, fail: 3, hold: 4 } as const;

/** What the fake worker does when it is told to load, by the content of the file its bundle's path names. */
export type StartFate = 'warm' | 'refuse' | 'crash' | 'never';
