import { clearLine, cursorTo } from 'node:readline';
import cliProgress from 'cli-progress';

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
  let bar: cliProgress.SingleBar | undefined;

  /** A line takes the bar's place; the bar draws itself anew below, within a tenth of a second. */
  function makeRoom(stream: NodeJS.WriteStream): void {
    if (bar === undefined || !stream.isTTY) return;
    cursorTo(stream, 0);
    clearLine(stream, 0);
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
      bar = new cliProgress.SingleBar({
        format: '{bar} {value}/{total} images, {eta_formatted} left',
        stream: stderr,
        clearOnComplete: true,
        // Signals are answered elsewhere.
        gracefulExit: false,
        etaBuffer: 50,
      });
      bar.start(total, 0);
    },
    advanceBar() {
      bar?.increment();
    },
    stopBar() {
      bar?.stop();
      bar = undefined;
    },
  };
}
