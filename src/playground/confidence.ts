export type Level = 'high' | 'medium' | 'low';

/** A probability in the words that people can use: its tenths, a verdict, and a frequency. */
export interface Reading {
  readonly percent: string;
  /** 0…10, of ten. */
  readonly tenths: number;
  readonly level: Level;
  readonly verdict: string;
  readonly meaning: string;
}

export function levelOf(confidence: number): Level {
  if (confidence >= 0.65) return 'high';
  return confidence >= 0.35 ? 'medium' : 'low';
}

const verdicts = { high: 'likely right', medium: 'check it', low: 'doubtful' } as const;

/** @param confidence 0…1, the probability that the caption agrees with people */
export function readConfidence(confidence: number): Reading {
  const tenths = Math.round(confidence * 10);
  const level = levelOf(confidence);
  return {
    percent: percent(confidence),
    tenths,
    level,
    verdict: verdicts[level],
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
