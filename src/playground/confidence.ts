/** A probability in the words that people can use: its tenths, a verdict, and a frequency. */
export interface Reading {
  readonly percent: string;
  /** 0…10, of ten. */
  readonly tenths: number;
  readonly level: 'high' | 'medium' | 'low';
  readonly verdict: string;
  readonly meaning: string;
}

/** @param confidence 0…1, the probability that the caption agrees with people */
export function readConfidence(confidence: number): Reading {
  const tenths = Math.round(confidence * 10);
  return {
    percent: percent(confidence),
    tenths,
    ...(confidence >= 0.65
      ? { level: 'high', verdict: 'likely right' }
      : confidence >= 0.35
        ? { level: 'medium', verdict: 'have a look' }
        : { level: 'low', verdict: 'doubtful' }),
    meaning: `${frequency(tenths)} captions at this level agree with people’s.`,
  };
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function frequency(tenths: number): string {
  if (tenths === 0) return 'Fewer than 1 in 10';
  if (tenths === 10) return 'More than 9 in 10';
  return `About ${tenths} in 10`;
}
