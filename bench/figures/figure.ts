export interface FigureContext {
  /** JPEG files of distinct photos. */
  readonly photos: readonly string[];
  /** Seconds of measuring, starts not included; a figure rounds it up to whole rounds. */
  readonly seconds: number;
  /** Requests of a figure that counts them. */
  readonly requests: number;
  /** A bundle that a figure compares this one with. */
  readonly otherBundle: string | undefined;
  /** Tells whoever waits what is going on. */
  readonly progress: (line: string) => void;
}

export interface FigureResult {
  /** For people: Markdown. */
  readonly text: string;
  /** For programs: the same numbers and what they were made from. Survives JSON. */
  readonly data: object;
}

/** Something that one command measures. A new one is a file in this folder and a line in bench.ts. */
export interface Figure {
  readonly name: string;
  /** One line for --help. */
  readonly help: string;
  readonly measure: (context: FigureContext) => Promise<FigureResult>;
}

/** What is missing for a measurement, in words that tell how to mend it. */
export class BenchError extends Error {
  override readonly name = 'BenchError';
}
