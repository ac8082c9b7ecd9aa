import { clearLine, cursorTo } from 'node:readline';
import cliProgress, { type GenericFormatter } from 'cli-progress';

/** Standard output, and standard error with a progress bar on it where that is a terminal. */
export interface Console {
  /** Whole lines of the output; resolves when they are handed over. */
  write(lines: string): Promise<void>;
  /** A line for the person in front of it. */
  say(line: string): void;
  /** The bar shows how many inputs are done, how fast, and how many failed; it is gone with `stopBar`. */
  startBar(total: number): void;
  advanceBar(isFailure: boolean): void;
  stopBar(): void;
}

export function createConsole(): Console {
  const { stdout, stderr } = process;
  let bars: cliProgress.MultiBar | undefined;
  let bar: cliProgress.SingleBar | undefined;
  let failed = 0;
  const ends: number[] = [];

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
      });
      bar = bars.create(total, 0, { failed, imagesPerSecond: 0 });
      process.once('exit', stopBar);
    },
    advanceBar(isFailure) {
      if (isFailure) failed += 1;
      ends.push(performance.now());
      if (ends.length > rateBuffer) ends.shift();
      const [first = 0] = ends;
      const imagesPerSecond = ((ends.length - 1) * 1000) / ((ends.at(-1) ?? 0) - first || 1);
      bar?.increment({ failed, imagesPerSecond });
    },
    stopBar,
  };
}

/** The last images, of which rate and time left are told: images of a batch end together. */
const rateBuffer = 100;

const { BarFormat, TimeFormat } = cliProgress.Format;

interface Payload {
  readonly failed: number;
  readonly imagesPerSecond: number;
}

const format: GenericFormatter = (options, { progress, value, total }, payload: Payload) => {
  const { failed, imagesPerSecond } = payload;
  // By the rate since the first image: the start of the model would only spoil the estimate.
  const secondsLeft = Math.ceil((total - value) / imagesPerSecond);
  const left = imagesPerSecond > 0 ? `${TimeFormat(secondsLeft, options, 5)} left` : 'loading the model';
  const rate = imagesPerSecond > 0 ? `, ${imagesPerSecond.toFixed(1)}/s` : '';
  const failures = failed === 0 ? '' : `, ${failed} failed`;
  return `${BarFormat(progress, options)} ${value}/${total} images${rate}, ${left}${failures}`;
};
