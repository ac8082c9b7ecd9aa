import { clearLine, cursorTo } from 'node:readline';
import cliProgress, { type GenericFormatter } from 'cli-progress';

/** Standard output, and standard error with a progress bar on it where that is a terminal. */
export interface Console {
  /** Whole lines of the output; resolves when they are handed over. */
  write(lines: string): Promise<void>;
  /** A line for the person in front of it. */
  say(line: string): void;
  /** The bar shows how many inputs are done; it is gone with `stopBar`. */
  startBar(total: number): void;
  advanceBar(): void;
  stopBar(): void;
}

export function createConsole(): Console {
  const { stdout, stderr } = process;
  let bars: cliProgress.MultiBar | undefined;
  let bar: cliProgress.SingleBar | undefined;

  /** A line takes the bar's place; the bar draws itself anew below, within a tenth of a second. */
  function makeRoom(stream: NodeJS.WriteStream): void {
    if (bar === undefined || !stream.isTTY) return;
    cursorTo(stream, 0);
    clearLine(stream, 0);
  }

  function stopBar(): void {
    bars?.stop();
    bars = undefined;
    bar = undefined;
  }

  return {
    async write(lines) {
      if (lines === '') return;
      makeRoom(stdout);
      // A closed pipe is dealt with where errors of the stream are heard, once for all.
      await new Promise<void>((resolve) => {
        stdout.write(lines, () => {
          resolve();
        });
      });
    },
    say(line) {
      makeRoom(stderr);
      stderr.write(`pcm-caption: ${line}\n`);
    },
    startBar(total) {
      if (!stderr.isTTY) return;
      // Not a SingleBar: that one ends by moving the cursor back to where it began, over the lines written since.
      bars = new cliProgress.MultiBar({
        format,
        stream: stderr,
        clearOnComplete: true,
        // No mode of the terminal is changed, so none needs to be restored, however this program ends.
        linewrap: true,
        gracefulExit: false,
        etaBuffer: 50,
      });
      bar = bars.create(total, 0);
      process.once('exit', stopBar);
    },
    advanceBar() {
      bar?.increment();
    },
    stopBar,
  };
}

const { BarFormat, TimeFormat } = cliProgress.Format;

const format: GenericFormatter = (options, { progress, value, total, eta }) => {
  // The start of the model would only spoil the estimate.
  const left = value === 0 ? 'loading the model' : `${TimeFormat(eta, options, 5)} left`;
  return `${BarFormat(progress, options)} ${value}/${total} images, ${left}`;
};
