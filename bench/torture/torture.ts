/** Whatever a torture needs to know. */
export interface TortureContext {
  /** Real photos, or the folder's absence makes drawn ones. */
  readonly photoFolder: string;
  /** Makes a run repeatable as far as the sender goes. */
  readonly seed: number;
  /** Of corrupted images: how many. */
  readonly images: number;
  /** Of mixed load: how long. */
  readonly seconds: number;
  /** Of slow clients: how many. */
  readonly clients: number;
  readonly progress: (line: string) => void;
}

export interface TortureResult {
  /** For people: Markdown. */
  readonly text: string;
  /** What should not have happened; empty when the service stood it. */
  readonly failures: readonly string[];
}

/** Something that the service has to stand. A new one is a file in this folder and a line in torture.ts. */
export interface Torture {
  readonly name: string;
  /** One line for --help. */
  readonly help: string;
  readonly inflict: (context: TortureContext) => Promise<TortureResult>;
}
