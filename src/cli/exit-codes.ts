/** How a command ended, for the shell. */
export const exitCodes = {
  ok: 0,
  /** Nothing was done, or what was checked is not right. */
  failed: 1,
  usage: 2,
  /** It ran to the end, and some images have no answer. */
  someFailed: 3,
  interrupted: 130,
  outputClosed: 141,
  terminated: 143,
} as const;

/** The same for --help and the documentation. */
export const exitCodesHelp = `
Exit codes:
  0    all is done
  1    it could not run: a setting, the model; or a bundle is not what its bundle.json says
  2    wrong usage: an unknown option, a value out of range
  3    it ran, but some images have no answer; standard error says which and why
  130  ended by Ctrl-C (143: by SIGTERM); what was written before is complete
  141  the reader of the output has gone
`;

/** The command line is not one that is taken; the message says what is wrong with it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The user, or the system, wants it to end. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly exitCode: number;

  constructor(signal: 'SIGINT' | 'SIGTERM', message: string) {
    super(message);
    this.exitCode = signal === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated;
  }
}
